"""The source tree as the tools see it: its rooms and doors (layers.txt), its files, what a change touched."""

import functools
import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SRC = ROOT / "src"
CODE_FOLDERS = ("src", "tests", "bench", "fuzz")
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"', re.M)


@functools.cache
def doors():
    """{room: [the rooms its line names]}, in the order of layers.txt."""
    result = {}
    for number, line in enumerate((ROOT / "layers.txt").read_text().splitlines(), 1):
        line = line.split("#")[0].strip()
        if not line:
            continue
        room, colon, rest = line.partition(":")
        if not colon or room in result:
            raise SystemExit(f"layers.txt:{number}: expected one line 'room: doors' per room")
        result[room] = rest.split()
    return result


@functools.cache
def reachable(room):
    """All rooms behind a room's doors. Circles do no harm here; check_layers.py reports them."""
    seen, open_ = set(), list(doors().get(room, ()))
    while open_:
        door = open_.pop()
        if door not in seen:
            seen.add(door)
            open_ += doors().get(door, ())
    return seen


def room_of(path):
    """The room of a path relative to src/, or None: the longest listed folder that holds it."""
    parts = Path(path).parts
    for length in range(len(parts), 0, -1):
        room = "/".join(parts[:length])
        if room in doors():
            return room
    return None


def target_of(room):
    return room.replace("/", "_")


@functools.cache
def files():
    """Every file that git tracks or would track and that exists, relative to the root."""
    command = ["git", "-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=ROOT, check=True, text=True, stdout=subprocess.PIPE).stdout.splitlines()
    return sorted({name for name in names if (ROOT / name).is_file()})


def sources(*suffixes):
    """The C++ files with one of the suffixes in the code folders."""
    return [f for f in files() if f.split("/")[0] in CODE_FOLDERS and f.endswith(suffixes)]


def build_dir(preset):
    return ROOT / "build" / preset


def jobs():
    return len(os.sched_getaffinity(0))
