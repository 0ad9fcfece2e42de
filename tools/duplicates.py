"""Advisory: code of src/ that stands in two places. Names and numbers are read as equal, so a copy with other names shows."""

import re
import sys
from collections import defaultdict

import tree
from check_limits import code_only

WINDOW = 70  # tokens: about eight lines
TOKEN = re.compile(r"[A-Za-z_]\w*|\d[\w.']*|[^\s\w]")
KEYWORDS = set("if else for while do switch case default break continue return struct class enum const constexpr static "
               "auto void bool true false template typename using namespace operator sizeof this public private".split())


def tokens(path):
    """[(normalised token, line)]; include lines, comments and literals are already blank."""
    code = code_only((tree.ROOT / path).read_text())
    line, position, result = 1, 0, []
    for match in TOKEN.finditer(code):
        line += code.count("\n", position, match.start())
        position = match.start()
        word = match[0]
        kind = word if word in KEYWORDS or not (word[0].isalnum() or word[0] == "_") else "0" if word[0].isdigit() else "a"
        result.append((kind, line))
    return result


def is_table(window):
    """Rows of data repeat by nature: few keywords and no statements in the window."""
    return sum(kind in (";", "if", "for", "while", "return", "switch") for kind in window) < 5


def find():
    """[(length in lines, place, other place)], the longest first; each line is reported once."""
    files = {path: tokens(path) for path in tree.sources(".h", ".cpp")
             if path.startswith("src/") and not path.endswith("_test.cpp")}
    places = defaultdict(list)
    for path, stream in files.items():
        kinds = [kind for kind, _ in stream]
        for start in range(0, len(kinds) - WINDOW + 1):
            places[hash(tuple(kinds[start:start + WINDOW]))].append((path, start))
    found, taken = [], set()
    for same in places.values():
        for (path, start), (other, second) in zip(same, same[1:]):
            if (path, start) in taken or (path == other and second < start + WINDOW):
                continue
            length = match_length(files[path], files[other], start, second, taken, path)
            if not is_table([kind for kind, _ in files[path][start:start + length]]):
                lines = files[path][start + length - 1][1] - files[path][start][1] + 1
                found.append((lines, f"{path}:{files[path][start][1]}", f"{other}:{files[other][second][1]}"))
    return sorted(found, reverse=True)


def match_length(first, second, start, other, taken, path):
    length = 0
    while (start + length < len(first) and other + length < len(second)
           and first[start + length][0] == second[other + length][0]):
        taken.add((path, start + length))
        length += 1
    return length


def main():
    found = find()
    for lines, place, other in found[:12]:
        print(f"{place}: {lines} lines much like {other}")
    print(f"duplicates: {len(found)} places worth a look (advisory)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
