#!/usr/bin/env python3
"""Checks that includes go down: a room of src/ includes itself and the rooms below it, never one above; and that what the library says is
not in the command's terms: no string of its rooms names an option (--exact) or a call of the command (`infoflow store ...`).
Usage: scripts/rooms.py"""

import re
import sys
from pathlib import Path

# From the lowest to the highest. Rooms of one line do not include each other, but for the laboratory, which may use everything.
ROOMS = [["base"], ["kernels"], ["model"], ["compute"], ["kv"], ["flow"], ["service"], ["cli", "server"], ["lab"]]
LIBRARY = {"base", "kernels", "model", "compute", "kv", "flow"}
STRING = re.compile(r'"(?:[^"\\\n]|\\.)*"')
COMMAND = re.compile(r"(^|[\s(`'])--[a-z]|`infoflow\b")
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
SRC = Path(__file__).resolve().parent.parent / "src"


def main() -> int:
    bad = 0
    for path in sorted(SRC.glob("*/**/*")):
        if path.suffix not in (".c", ".h", ".cpp"):
            continue
        room = path.relative_to(SRC).parts[0]
        if room not in LEVEL:
            print(f"src/{room}: no room of this name stands in scripts/rooms.py", file=sys.stderr)
            bad += 1
            continue
        for number, line in enumerate(path.read_text().splitlines(), 1):
            found = re.match(r'\s*#\s*include\s+"([a-z]+)/', line)
            other = found.group(1) if found else room
            if other in LEVEL and other != room and LEVEL[other] >= LEVEL[room]:
                print(f"{path.relative_to(SRC.parent)}:{number}: {room} includes {other}, which is not below it", file=sys.stderr)
                bad += 1
            if room in LIBRARY and any(COMMAND.search(string[1:-1]) for string in STRING.findall(line)):
                print(f"{path.relative_to(SRC.parent)}:{number}: the library speaks of the command's options or calls", file=sys.stderr)
                bad += 1
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
