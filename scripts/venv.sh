#!/usr/bin/env bash
# Makes the Python environment of the tests (tests/reference/requirements.txt), once, and prints its interpreter (the last line of standard
# output); --path prints it without making it. Kept outside the tree, keyed by the requirements and the Python version.
# Environment: INFOFLOW_CACHE (default ~/.cache/infoflow).
set -euo pipefail

requirements=$(cd "$(dirname "$0")/.." && pwd)/tests/reference/requirements.txt
key=$({ cat "$requirements"; python3 --version; } | sha256sum | cut -c1-12)
cache=${INFOFLOW_CACHE:-${HOME:?}/.cache/infoflow}
venv=$cache/venv-$key

if [ "${1:-}" = --path ] || [ -f "$venv/.complete" ]; then echo "$venv/bin/python"; exit 0; fi

mkdir -p "$cache"
exec 9>"$cache/.venv-lock"
flock 9
if [ ! -f "$venv/.complete" ]; then
    echo "venv: installing $(grep -cv '^ *\(#\|$\)' "$requirements") Python packages for the tests" >&2
    rm -rf "$venv"
    python3 -m venv "$venv" >&2
    "$venv/bin/python" -m pip install -q -r "$requirements" >&2
    touch "$venv/.complete"
fi
echo "$venv/bin/python"
