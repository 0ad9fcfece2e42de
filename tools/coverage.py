"""Lines that the tests ran, per room, from gcov's counters in build/cov/."""

import json
import subprocess
from collections import defaultdict

import tree


def report():
    folder = tree.build_dir("cov")
    notes = [str(path) for path in folder.rglob("*.gcda")]
    hit, seen = defaultdict(set), defaultdict(set)
    for start in range(0, len(notes), 50):
        output = subprocess.run(["gcov", "--json-format", "--stdout", *notes[start:start + 50]], cwd=folder, text=True,
                                check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout
        for document in output.splitlines():
            for file in json.loads(document)["files"] if document.strip() else ():
                name = file["file"].removeprefix(f"{tree.ROOT}/").removeprefix("../../")
                if not name.startswith("src/") or name.endswith("_test.cpp"):
                    continue
                seen[name] |= {line["line_number"] for line in file["lines"]}
                hit[name] |= {line["line_number"] for line in file["lines"] if line["count"]}
    rooms = defaultdict(lambda: [0, 0])
    for name in seen:
        room = rooms[tree.room_of(name.removeprefix("src/"))]
        room[0] += len(hit[name])
        room[1] += len(seen[name])
    for room in tree.doors():
        if room in rooms:
            print(f"{room:20}{rooms[room][0]:7} of {rooms[room][1]:6} lines {100 * rooms[room][0] // rooms[room][1]:4} %")
