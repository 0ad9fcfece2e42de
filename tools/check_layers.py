"""The include law: reports each include that layers.txt forbids, circles, and folders it does not list."""

import sys

import tree


def circles():
    """Each circle of doors, once."""
    found, done = [], set()

    def walk(room, path):
        if room in path:
            circle = path[path.index(room):] + [room]
            found.append("layers.txt: circle " + " -> ".join(circle))
        elif room not in done:
            for door in tree.doors().get(room, ()):
                walk(door, path + [room])
            done.add(room)

    for room in tree.doors():
        walk(room, [])
    return found


def unknown_doors():
    return [f"layers.txt: {room} names the door {door}, which is not a listed room"
            for room, doors in tree.doors().items() for door in doors if door not in tree.doors()]


def check_file(path):
    """Messages about the includes of one file under src/."""
    name = path.removeprefix("src/")
    room = tree.room_of(name)
    if room is None:
        return [f"{path}:1: lies in no room that layers.txt lists"]
    problems = []
    text = (tree.ROOT / path).read_text()
    for match in tree.INCLUDE.finditer(text):
        included = match[1]
        where = f"{path}:{text.count(chr(10), 0, match.start(1)) + 1}"
        target = tree.room_of(included)
        if target is None or not (tree.SRC / included).is_file():
            problems.append(f'{where}: "{included}" is not a file of the tree (write "room/file.h")')
        elif target != room and target not in tree.reachable(room):
            problems.append(f'{where}: {room} has no door to {target} ("{included}")')
    return problems


def main():
    problems = circles() + unknown_doors()
    checked = [f for f in tree.sources(".h", ".cpp", ".def", ".inc") if f.startswith("src/")]
    for path in checked:
        problems += check_file(path)
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"layers: {len(checked)} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
