"""./x new device timer/hpet: a skeleton from tools/templates/ that compiles, with a test that fails until it is filled in."""

import re

import fmt
import tree


def device(where):
    room, _, name = where.removeprefix("src/").removeprefix("hw/").rpartition("/")
    room = f"hw/{room}"
    if room not in tree.doors() or not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        rooms = " ".join(r.removeprefix("hw/") for r in tree.doors() if r.startswith("hw/"))
        raise SystemExit(f"'{where}' is not ROOM/NAME with a room of: {rooms}")
    words = {"room": room, "name": name, "Name": "".join(part.capitalize() for part in name.split("_"))}
    made = [f"src/{room}/{name}{suffix}" for suffix in (".h", ".cpp", "_test.cpp")]
    for path in made:
        if (tree.ROOT / path).exists():
            raise SystemExit(f"{path} exists")
    (tree.SRC / room).mkdir(parents=True, exist_ok=True)
    for path, suffix in zip(made, (".h", ".cpp", "_test.cpp")):
        text = (tree.ROOT / f"tools/templates/device{suffix}").read_text()
        (tree.ROOT / path).write_text(re.sub(r"@(\w+)@", lambda match: words[match[1]], text))
    list_in_room(room, "SOURCES", f"{name}.cpp")
    list_in_room(room, "TESTS", f"{name}_test.cpp")
    tree.files.cache_clear()
    fmt.run(check=False)
    print(*made, sep="\n")
    print(f"written and listed in src/{room}/CMakeLists.txt. Fill them in, then: ./x test {room}")
    return 0


def list_in_room(room, keyword, file):
    """Adds a file to a list of the room's CMakeLists.txt, which is begun if need be."""
    path = tree.SRC / room / "CMakeLists.txt"
    text = path.read_text() if path.exists() else f"menura_room(\n  NAME {room})\n"
    listed, count = re.subn(rf"\b{keyword}\b(\s+[\w./]+)*", lambda match: f"{match[0]} {file}", text, count=1)
    if not count:
        order = ("NAME", "SOURCES")  # TESTS come after the sources
        after = max((m for m in re.finditer(r"\b(NAME|SOURCES)((?:\s+(?!TESTS|LIBS)[\w./]+)+)", text)),
                    key=lambda match: order.index(match[1]))
        listed = f"{text[:after.end()]}\n  {keyword} {file}{text[after.end():]}"
    path.write_text(listed)
