#!/usr/bin/env bash
# Removes what `make install` installed into a prefix, by the list that it left there: files, and the directories that it made, where nothing
# else has come into them. Stores, profiles and models are the users' and stay. Usage: uninstall.sh PREFIX
set -euo pipefail
prefix=${1:?the prefix of the installation}
manifest=$prefix/share/infoflow/manifest
if [ ! -f "$manifest" ]; then
    echo "uninstall: $manifest is missing: nothing was installed with the prefix $prefix" >&2; exit 1
fi
mapfile -t lines <"$manifest"
for line in "${lines[@]}"; do
    case /$line/ in //* | */../*) echo "uninstall: $manifest: '$line' is no path below the prefix; nothing was removed" >&2; exit 1 ;; esac
done
for line in "${lines[@]}"; do
    case $line in */) ;; *) rm -f -- "$prefix/$line" ;; esac
done
for ((i = ${#lines[@]} - 1; i >= 0; i--)); do # sorted: what is inside comes after
    case ${lines[i]} in */) rmdir --ignore-fail-on-non-empty -- "$prefix/${lines[i]}" 2>/dev/null || [ ! -d "$prefix/${lines[i]}" ] ;; esac
done
