# What `make install` puts where: header, libraries, pkg-config and CMake packages, the command, and the pinned ggml beside them.
include(CMakePackageConfigHelpers)

# Man pages and completions are what the command says of itself, so it must run here.
set(mandir ${CMAKE_INSTALL_MANDIR}/man1)
set(bashdir ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
set(zshdir ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)
set(standard_dirs ${CMAKE_INSTALL_BINDIR} ${CMAKE_INSTALL_LIBDIR}/cmake ${CMAKE_INSTALL_LIBDIR}/pkgconfig ${CMAKE_INSTALL_INCLUDEDIR}
                  ${mandir} ${bashdir} ${zshdir})
install(CODE "include([[${CMAKE_CURRENT_LIST_DIR}/manifest.cmake]])\ninfoflow_manifest_begin(${standard_dirs})")

set(cmakedir ${CMAKE_INSTALL_LIBDIR}/cmake/infoflow)
file(RELATIVE_PATH bin_to_lib /${CMAKE_INSTALL_BINDIR} /${CMAKE_INSTALL_LIBDIR})
file(RELATIVE_PATH INFOFLOW_PC_TO_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" INFOFLOW_PC_TO_PREFIX "${INFOFLOW_PC_TO_PREFIX}")

# The pinned ggml lives in a cache that may be deleted, so an installation takes it along into a directory of its own, where it meets no
# other ggml; installed libraries find it relative to themselves, wherever the prefix is moved.
set(ggml_libraries "-Wl,--push-state,--no-as-needed -lllama -lggml") # by name, for the reason that the shared library has
if(NOT GGML_BACKEND_DL) # else they are loaded when the program starts
    foreach(backend IN LISTS GGML_AVAILABLE_BACKENDS)
        string(APPEND ggml_libraries " -l${backend}")
    endforeach()
endif()
string(APPEND ggml_libraries " -lggml-base -Wl,--pop-state")
if(INFOFLOW_DEPS_PREFIX)
    set(INFOFLOW_PRIVATE_DIR ${CMAKE_INSTALL_LIBDIR}/infoflow)
    install(DIRECTORY ${INFOFLOW_DEPS_PREFIX}/lib ${INFOFLOW_DEPS_PREFIX}/include DESTINATION ${INFOFLOW_PRIVATE_DIR}
            USE_SOURCE_PERMISSIONS PATTERN pkgconfig EXCLUDE)
    set_target_properties(infoflow_shared PROPERTIES INSTALL_RPATH "$ORIGIN/infoflow/lib")
    set(command_rpath ";$ORIGIN/${bin_to_lib}/infoflow/lib") # it calls libllama, too
    set(command_rpath_of_link OFF)
    set(INFOFLOW_PC_LIBS_PRIVATE "-L\${libdir}/infoflow/lib -Wl,-rpath,\${libdir}/infoflow/lib ${ggml_libraries}")
else()
    set_target_properties(infoflow_shared PROPERTIES INSTALL_RPATH_USE_LINK_PATH ON)
    set(command_rpath_of_link ON)
    get_filename_component(ggml_libdir "${ggml_DIR}/../.." ABSOLUTE)
    set(INFOFLOW_PC_LIBS_PRIVATE "-L${ggml_libdir} -Wl,-rpath,${ggml_libdir} ${ggml_libraries}")
endif()
if(INFOFLOW_TEMPLATES) # the static library needs it beside it
    install(FILES ${INFOFLOW_COMMON_PREFIX}/lib/libinfoflow_common.a DESTINATION ${CMAKE_INSTALL_LIBDIR}/infoflow)
    set(INFOFLOW_PC_LIBS_PRIVATE "-L\${libdir}/infoflow -linfoflow_common ${INFOFLOW_PC_LIBS_PRIVATE}")
endif()

install(FILES include/infoflow.h DESTINATION ${CMAKE_INSTALL_INCLUDEDIR})
install(TARGETS infoflow_shared EXPORT infoflowTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS infoflow_static ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
if(TARGET infoflow)
    set_target_properties(infoflow PROPERTIES INSTALL_RPATH "$ORIGIN/${bin_to_lib}${command_rpath}"
                          INSTALL_RPATH_USE_LINK_PATH ${command_rpath_of_link})
    install(TARGETS infoflow RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
endif()

set_target_properties(infoflow_shared PROPERTIES EXPORT_NAME infoflow)
add_library(infoflow::infoflow ALIAS infoflow_shared) # the same name as after find_package(infoflow)
install(EXPORT infoflowTargets NAMESPACE infoflow:: DESTINATION ${cmakedir})
configure_package_config_file(packaging/infoflowConfig.cmake.in infoflowConfig.cmake INSTALL_DESTINATION ${cmakedir})
write_basic_package_version_file(infoflowConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${PROJECT_BINARY_DIR}/infoflowConfig.cmake ${PROJECT_BINARY_DIR}/infoflowConfigVersion.cmake DESTINATION ${cmakedir})

configure_file(packaging/infoflow.pc.in infoflow.pc @ONLY)
install(FILES ${PROJECT_BINARY_DIR}/infoflow.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)

find_program(INFOFLOW_PYTHON3 python3)
if(TARGET infoflow AND INFOFLOW_PYTHON3 AND NOT CMAKE_CROSSCOMPILING AND NOT INFOFLOW_SANITIZE)
    set(pages ${PROJECT_BINARY_DIR}/pages)
    add_custom_command(OUTPUT ${pages}/infoflow.bash ${pages}/_infoflow
                       COMMAND ${INFOFLOW_PYTHON3} ${PROJECT_SOURCE_DIR}/scripts/pages.py $<TARGET_FILE:infoflow> ${pages}
                       DEPENDS infoflow ${PROJECT_SOURCE_DIR}/scripts/pages.py COMMENT "Man pages and completions" VERBATIM)
    add_custom_target(infoflow_pages ALL DEPENDS ${pages}/infoflow.bash ${pages}/_infoflow)
    install(DIRECTORY ${pages}/man/ DESTINATION ${mandir} FILES_MATCHING PATTERN "*.1")
    install(FILES ${pages}/infoflow.bash DESTINATION ${bashdir} RENAME infoflow)
    install(FILES ${pages}/_infoflow DESTINATION ${zshdir})
endif()

# The last one: what was installed, for `make uninstall`.
install(CODE "infoflow_manifest_end(${CMAKE_INSTALL_LIBDIR}/infoflow ${cmakedir})")
