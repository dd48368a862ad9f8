# Finds ggml and libllama: an installed pair if there is one, else the pinned pair that scripts/deps.sh builds once a machine.
# Sets INFOFLOW_DEPS_PREFIX (the pinned prefix; empty when an installed pair is used) and says which one it is.

set(INFOFLOW_GGML_MINIMUM 0.25) # older ones lack operations that the graphs need, such as ggml_set_rows for every cache type

option(INFOFLOW_PORTABLE "the pinned ggml for every CPU of this architecture, not only this machine's; the program chooses when it starts" OFF)
option(INFOFLOW_PINNED_GGML "use the pinned ggml and libllama even where others are installed" OFF)

# Results of an earlier configuration must not decide this one: the pinned prefix changes its name with version, options and processor.
macro(infoflow_forget_ggml)
    get_cmake_property(infoflow_cached CACHE_VARIABLES)
    foreach(name IN LISTS infoflow_cached)
        if(name MATCHES "^(GGML|LLAMA)_.*LIBRARY$" OR name MATCHES "^(ggml|llama)_(DIR|LIBRARY)$")
            unset(${name} CACHE)
        endif()
    endforeach()
endmacro()

if(INFOFLOW_PINNED_PREFIX AND ggml_DIR)
    string(FIND "${ggml_DIR}" "${INFOFLOW_PINNED_PREFIX}/" at)
    if(at EQUAL 0)
        infoflow_forget_ggml()
    endif()
endif()

set(INFOFLOW_DEPS_PREFIX "")
set(infoflow_ggml_FOUND FALSE)
if(INFOFLOW_PORTABLE) # an installed one is for whatever CPU it was built for
    set(INFOFLOW_PINNED_GGML ON)
endif()
if(NOT INFOFLOW_PINNED_GGML)
    find_package(ggml ${INFOFLOW_GGML_MINIMUM} QUIET)
    if(ggml_FOUND)
        find_package(llama QUIET)
    endif()
    if(ggml_FOUND AND llama_FOUND)
        message(STATUS "ggml and libllama: the installed ones, ggml ${ggml_VERSION} in ${ggml_DIR}, libllama ${llama_VERSION} in ${llama_DIR}")
        set(infoflow_ggml_FOUND TRUE)
    elseif(ggml_FOUND)
        message(FATAL_ERROR "ggml ${ggml_VERSION} is installed in ${ggml_DIR}, but no libllama: install libllama built with the same ggml, "
                            "or configure with -DINFOFLOW_PINNED_GGML=ON to build the pinned pair")
    endif()
endif()
if(NOT infoflow_ggml_FOUND)
    # Its progress goes to standard error, which is left alone here, so that a user of a first build sees it move.
    set(infoflow_deps_environment "")
    if(INFOFLOW_PORTABLE)
        set(infoflow_deps_environment ${CMAKE_COMMAND} -E env INFOFLOW_DEPS_PORTABLE=1)
    endif()
    execute_process(COMMAND ${infoflow_deps_environment} ${CMAKE_CURRENT_SOURCE_DIR}/scripts/deps.sh OUTPUT_VARIABLE INFOFLOW_DEPS_PREFIX
                    OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE infoflow_deps_status)
    if(NOT infoflow_deps_status EQUAL 0)
        message(FATAL_ERROR "scripts/deps.sh could not build ggml and libllama (its messages are above); once they are installed elsewhere, "
                            "-DCMAKE_PREFIX_PATH=THEIR_PREFIX uses those")
    endif()
    infoflow_forget_ggml()
    set(ggml_DIR ${INFOFLOW_DEPS_PREFIX}/lib/cmake/ggml)
    set(llama_DIR ${INFOFLOW_DEPS_PREFIX}/lib/cmake/llama)
    find_package(ggml ${INFOFLOW_GGML_MINIMUM} REQUIRED)
    find_package(llama REQUIRED)
    set(INFOFLOW_PINNED_PREFIX ${INFOFLOW_DEPS_PREFIX} CACHE INTERNAL "the pinned prefix of the last configuration")
    message(STATUS "ggml and libllama: the pinned ones, ggml ${ggml_VERSION}, libllama ${llama_VERSION}, in ${INFOFLOW_DEPS_PREFIX}")
endif()
if(GGML_BACKEND_DIR) # where that ggml looks for backends that are libraries of their own
    set_source_files_properties(src/model/calls.cpp PROPERTIES COMPILE_DEFINITIONS INFOFLOW_GGML_BACKEND_DIR="${GGML_BACKEND_DIR}")
endif()

# The distribution's Jinja engine, for the models' own chat templates, and JSON schema to grammar. They go with the pinned libllama; with an
# installed one they are built on demand. Without them libllama renders the templates that it knows, and there are no JSON schemas.
if(INFOFLOW_DEPS_PREFIX)
    set(infoflow_templates_default ON)
else()
    set(infoflow_templates_default OFF)
endif()
option(INFOFLOW_TEMPLATES "render chat templates by the pinned distribution's Jinja engine" ${infoflow_templates_default})
set(INFOFLOW_COMMON_PREFIX "")
if(INFOFLOW_TEMPLATES)
    execute_process(COMMAND ${CMAKE_CURRENT_SOURCE_DIR}/scripts/deps.sh common OUTPUT_VARIABLE INFOFLOW_COMMON_PREFIX
                    OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE infoflow_common_status)
    if(NOT infoflow_common_status EQUAL 0)
        message(FATAL_ERROR "scripts/deps.sh common could not build the Jinja engine (its messages are above); -DINFOFLOW_TEMPLATES=OFF does without")
    endif()
    add_library(infoflow_common STATIC IMPORTED)
    set_target_properties(infoflow_common PROPERTIES IMPORTED_LOCATION ${INFOFLOW_COMMON_PREFIX}/lib/libinfoflow_common.a
                                                     INTERFACE_INCLUDE_DIRECTORIES ${INFOFLOW_COMMON_PREFIX}/include)
    message(STATUS "chat templates: by the Jinja engine in ${INFOFLOW_COMMON_PREFIX}")
else()
    message(STATUS "chat templates: those that libllama knows (INFOFLOW_TEMPLATES is OFF): no Jinja engine, no JSON schemas")
endif()
