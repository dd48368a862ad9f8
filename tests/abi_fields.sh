#!/usr/bin/env bash
# The rule for adding fields to structs of parameters: scripts/abi_fields.py takes a field that makes the struct longer, and refuses one in
# its padding, one that is gone, and one that moved. Usage: abi_fields.sh
set -euo pipefail
cd "$(dirname "$0")/.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
known=packaging/libinfoflow.abi

field() { echo "<data-member access='public' layout-offset-in-bits='$1'><var-decl name='added' type-id='type-id-1'/></data-member>"; }
# Bits of iflow_store_params, in which there is padding after two bools, from bit 144 on.
size=$(sed -n "s/.*class-decl name='iflow_store_params' size-in-bits='\([0-9]*\)'.*/\1/p" "$known")
# The interface with another field of it at a bit offset.
with_field() {
    ADDED=$(field "$1") awk '{ print } /class-decl name=.iflow_store_params. / { print ENVIRON["ADDED"] }' "$known"
}
fails() {
    if scripts/abi_fields.py "$known" "$dir/new" 2>"$dir/error"; then echo "abi_fields: $1 passed" >&2; exit 1; fi
    grep -qF "$2" "$dir/error" || { cat "$dir/error" >&2; exit 1; }
}

scripts/abi_fields.py "$known" "$known"
with_field "$size" >"$dir/new"
if cmp -s "$known" "$dir/new"; then echo "abi_fields: $known has no iflow_store_params" >&2; exit 1; fi
scripts/abi_fields.py "$known" "$dir/new"
with_field 144 >"$dir/new"
fails "a field in the padding" "iflow_store_params.added begins in byte 18, within the $((size / 8)) that the struct had"
sed "s/<var-decl name='must_exist'/<var-decl name='other'/" "$known" >"$dir/new"
fails "a field that is gone" "iflow_store_params.must_exist is gone"
sed "s/layout-offset-in-bits='136'/layout-offset-in-bits='160'/" "$known" >"$dir/new"
fails "a field that moved" "is at another place"
