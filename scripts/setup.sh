#!/usr/bin/env bash
# Installs the Debian packages that are missing for building, or for building and testing. Usage: scripts/setup.sh [build|test]
# Does nothing, and asks nobody for a password, when all is there.
set -euo pipefail

purpose=${1:-test}
missing=()

# PACKAGE TEST...: the package is wanted where the test fails. What a package provides is asked for, not the package: a tool from
# elsewhere will do as well.
want() {
    local package=$1; shift
    if ! "$@" >/dev/null 2>&1; then missing+=("$package"); fi
}
has() { command -v "$1"; }

case $purpose in build | test) ;; *) echo "setup: '$purpose' is neither build nor test" >&2; exit 2 ;; esac

want make has make
want gcc has cc
want g++ has c++
want cmake has cmake
want ninja-build has ninja
want pkg-config has pkg-config
want python3 has python3
want python3-pip python3 -m pip --version
want ca-certificates test -s /etc/ssl/certs/ca-certificates.crt
want libjansson-dev pkg-config --exists jansson
want libxxhash-dev pkg-config --exists libxxhash
want libedit-dev pkg-config --exists libedit # not needed: without it `infoflow chat` has no line editing
if [ "$purpose" = test ]; then
    want python3-venv python3 -c 'import ensurepip, venv'
    want libcmocka-dev pkg-config --exists cmocka
    want clang has clang
    want clang-tidy has clang-tidy
    want clang-format has clang-format
fi
[ ${#missing[@]} -gt 0 ] || exit 0

echo "setup: missing: ${missing[*]}" >&2
if ! command -v apt-get >/dev/null; then
    echo "setup: this machine has no apt-get: install what these Debian packages hold, then run this again" >&2; exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
        echo "setup: installing packages needs root or sudo: run as root 'apt-get install ${missing[*]}', then this again" >&2; exit 1
    fi
    as_root=(sudo)
fi
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o Dpkg::Use-Pty=0 update -qq
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o Dpkg::Use-Pty=0 install -y -qq --no-install-recommends "${missing[@]}" >&2
