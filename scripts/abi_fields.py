#!/usr/bin/env python3
"""Checks the rule for adding fields to structs of parameters (include/infoflow.h, "Parameters"), between two files of abidw: a field that is
new begins at or after the size that the struct had, and none is gone or elsewhere. Usage: scripts/abi_fields.py OLD.abi NEW.abi"""

import sys
import xml.etree.ElementTree as ET


def structs(path: str) -> dict[str, tuple[int, dict[str, int]]]:
    """Size and {field: offset}, in bits, of every struct that begins with a field named size."""
    found = {}
    for node in ET.parse(path).getroot().iter("class-decl"):
        fields = {}
        for member in node.findall("data-member"):
            for variable in member.findall("var-decl"):
                fields[variable.get("name")] = int(member.get("layout-offset-in-bits", "0"))
        if fields.get("size") == 0:
            found[node.get("name")] = (int(node.get("size-in-bits")), fields)
    return found


def main() -> int:
    if len(sys.argv) != 3:
        print(__doc__, file=sys.stderr)
        return 2
    old, new = structs(sys.argv[1]), structs(sys.argv[2])
    bad = [] if old else [f"{sys.argv[1]} has no struct that begins with its size"]
    for name, (old_size, old_fields) in old.items():
        if name not in new:
            bad.append(f"{name} is gone")
            continue
        fields = new[name][1]
        for field, at in old_fields.items():
            if fields.get(field) != at:
                bad.append(f"{name}.{field} is {'gone' if field not in fields else 'at another place'}")
        for field, at in fields.items():
            if field not in old_fields and at < old_size:
                bad.append(f"{name}.{field} begins in byte {at // 8}, within the {old_size // 8} that the struct had: old callers' padding")
    for what in bad:
        print(f"abi: {what}", file=sys.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
