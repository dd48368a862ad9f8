#!/usr/bin/env bash
# Installs into a temporary prefix and builds a program against it in three ways: pkg-config, pkg-config --static, and find_package; each
# must run, and none may need the build tree or the cache that ggml was built in. Usage: release_install.sh BUILD
set -euo pipefail
build=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
fail() { echo "release_install: $*" >&2; exit 1; }

cmake --install "$build" --prefix "$work/first" >"$work/install.log" || { cat "$work/install.log"; fail "cmake --install failed"; }
mv "$work/first" "$work/moved" # an installation finds its parts wherever it is moved to
prefix=$work/moved
libdir=$(dirname "$(find "$prefix" -name libinfoflow.so)")
for file in include/infoflow.h bin/infoflow; do [ -f "$prefix/$file" ] || fail "$file was not installed"; done
[ -f "$libdir/libinfoflow.a" ] || fail "libinfoflow.a was not installed"

version=$("$prefix/bin/infoflow" --version) || fail "the installed command does not run"
header=$(sed -n 's/^#define IFLOW_VERSION "\(.*\)"/\1/p' "$prefix/include/infoflow.h")
case $version in *"$header"*) ;; *) fail "the command says '$version', the header $header" ;; esac
if ldd "$libdir/libinfoflow.so" | grep 'not found'; then fail "libinfoflow.so lacks libraries"; fi
if ldd "$libdir/libinfoflow.so" | grep -F "$HOME/.cache"; then fail "libinfoflow.so reaches into the cache"; fi
leaked=$(nm -D --defined-only "$libdir/libinfoflow.so" | awk '$3 !~ /^iflow_/ { print $3 }')
[ -z "$leaked" ] || fail "libinfoflow.so exports more than iflow_ symbols: $leaked"

export PKG_CONFIG_PATH=$libdir/pkgconfig
answer=$INFOFLOW_SOURCE/examples/answer.c
[ "$(pkg-config --modversion infoflow)" = "$header" ] || fail "infoflow.pc has another version than $header"
cc -std=c17 "$answer" -o "$work/shared" $(pkg-config --cflags --libs infoflow) "-Wl,-rpath,$libdir" || fail "pkg-config: no program"
cc -std=c17 "$answer" -o "$work/static" $(pkg-config --cflags infoflow) "$libdir/libinfoflow.a" \
    $(pkg-config --static --libs infoflow | sed 's/-linfoflow//') || fail "pkg-config --static: no program"
mkdir "$work/user"
cat >"$work/user/CMakeLists.txt" <<CMAKE
cmake_minimum_required(VERSION 3.20)
project(user LANGUAGES C)
find_package(infoflow $header REQUIRED)
add_executable(user $answer)
target_link_libraries(user PRIVATE infoflow::infoflow)
CMAKE
cmake -S "$work/user" -B "$work/user/build" -DCMAKE_PREFIX_PATH="$prefix" >"$work/user.log" 2>&1 &&
    cmake --build "$work/user/build" >>"$work/user.log" 2>&1 || { cat "$work/user.log"; fail "find_package: no program"; }

for program in "$work/shared" "$work/static" "$work/user/build/user"; do
    bash "$INFOFLOW_SOURCE/tests/example_answer.sh" "$program" || fail "$program does not answer"
done

DESTDIR=$work/stage cmake --install "$build" --prefix /usr >/dev/null || fail "DESTDIR: cmake --install failed"
[ -x "$work/stage/usr/bin/infoflow" ] || fail "DESTDIR was not heeded"
"$work/stage/usr/bin/infoflow" --version >/dev/null || fail "DESTDIR: the command does not run where it was staged"

# Man pages, one a command, and completions are there. An installation is removed to the last file and directory, and nothing else is.
uninstall() { make --no-print-directory -s -C "$INFOFLOW_SOURCE" uninstall "$@"; }
tree() { (cd "$1" && find . | sort); }
there=$work/there
mkdir -p "$there/share/man/man1" "$there/lib/cmake"
touch "$there/share/man/man1/other.1" "$there/lib/libother.so"
tree "$there" >"$work/before"
cmake --install "$build" --prefix "$there" >/dev/null || fail "cmake --install failed"
cmake --install "$build" --prefix "$there" >/dev/null || fail "cmake --install over an earlier one failed"
for command in $("$there/bin/infoflow" help | sed -n '/^Commands:/,/^$/s/^  \([a-z]*\) .*/\1/p'); do
    page=$there/share/man/man1/infoflow-$command.1
    [ -s "$page" ] || fail "no man page of $command"
    grep -q "^\.SH EXAMPLE\|^\.SS store" "$page" && grep -q '^\\fB\\-h' "$page" || fail "the man page of $command lacks options or examples"
    if command -v man >/dev/null; then [ -z "$(LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings -l "$page" 2>&1 >/dev/null)" ] || fail "the man page of $command is malformed"; fi
done
[ -s "$there/share/man/man1/infoflow.1" ] || fail "no man page infoflow(1)"
grep -q '^complete -F' "$there/share/bash-completion/completions/infoflow" || fail "no completion of bash"
grep -q '^#compdef infoflow$' "$there/share/zsh/site-functions/_infoflow" || fail "no completion of zsh"
touch "$there/lib/infoflow/mine" # somebody's own file in a directory of ours
uninstall PREFIX="$there" || fail "make uninstall failed"
{ cat "$work/before"; echo ./lib/infoflow; echo ./lib/infoflow/mine; } | sort >"$work/expected"
tree "$there" | diff "$work/expected" - || fail "make uninstall left or took more than was installed"
if uninstall PREFIX="$there" 2>"$work/again"; then fail "make uninstall of nothing succeeded"; fi
grep -q 'nothing was installed' "$work/again" || fail "make uninstall of nothing does not say so"
uninstall DESTDIR="$work/stage" PREFIX=/usr || fail "DESTDIR: make uninstall failed"
[ -z "$(find "$work/stage/usr" ! -type d)" ] || fail "DESTDIR: make uninstall left files"
# A list that names what is not below the prefix is refused as a whole.
mkdir -p "$work/forged/share/infoflow"; touch "$work/forged/mine" "$work/precious"
printf 'mine\n../precious\n' >"$work/forged/share/infoflow/manifest"
if uninstall PREFIX="$work/forged" 2>/dev/null; then fail "a forged list was taken"; fi
[ -e "$work/precious" ] && [ -e "$work/forged/mine" ] || fail "a forged list removed files"
