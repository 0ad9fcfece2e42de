"""Advisory: code of src/ that stands in two places. Names and numbers are read as equal, so a copy with other names shows.
Lists are no copies: rows of data, and the members that a describe() names."""

import re
import sys
from collections import defaultdict

import tree
from check_limits import code_only

WINDOW = 70  # tokens: about eight lines
TOKEN = re.compile(r"[A-Za-z_]\w*|\d[\w.']*|[^\s\w]")
WORDS = ("if else for while do switch case default break continue return struct class enum const constexpr static auto void bool "
         "true false template typename using namespace operator sizeof this public private").split()
KEYWORDS = {word: chr(0x100 + number) for number, word in enumerate(WORDS)}
MEMBER = re.compile(r"^\s*\w+\.(?:since\(\w+\)\.)?(?:field|required)\(.*?\);$", re.M | re.S)
STATEMENTS = {";", *(KEYWORDS[word] for word in ("if", "for", "while", "return", "switch"))}


def read(path):
    """(a string with one character per token, the line of each token); comments and literals are blank already."""
    code = MEMBER.sub(lambda member: "\n" * member[0].count("\n"), code_only((tree.ROOT / path).read_text()))
    line, position, kinds, lines = 1, 0, [], []
    for match in TOKEN.finditer(code):
        line += code.count("\n", position, match.start())
        position = match.start()
        word = match[0]
        is_word = word[0].isalnum() or word[0] == "_"
        kinds.append(KEYWORDS[word] if word in KEYWORDS else word if not is_word else "0" if word[0].isdigit() else "a")
        lines.append(line)
    return "".join(kinds), lines


def is_table(kinds):
    """Rows of data repeat by nature: hardly a statement in them."""
    return sum(kind in STATEMENTS for kind in kinds) < 5


def match_length(first, start, second, other):
    length = WINDOW
    while first[start + length:start + length + 1] and first[start + length] == second[other + length:other + length + 1]:
        length += 1
    return length


def find():
    """[(length in lines, place, other place)], the longest first; each line is reported once."""
    files = {path: read(path) for path in tree.sources(".h", ".cpp")
             if path.startswith("src/") and not path.endswith("_test.cpp")}
    places = defaultdict(list)
    for path, (kinds, _) in files.items():
        for start in range(0, len(kinds) - WINDOW + 1):
            places[kinds[start:start + WINDOW]].append((path, start))
    found, taken = [], set()
    for same in places.values():
        for (path, start), (other, second) in zip(same, same[1:]):
            if (path, start) in taken or (path == other and second < start + WINDOW):
                continue
            (kinds, lines), (other_kinds, other_lines) = files[path], files[other]
            length = match_length(kinds, start, other_kinds, second)
            taken |= {(path, start + i) for i in range(length)}
            if not is_table(kinds[start:start + length]):
                extent = lines[start + length - 1] - lines[start] + 1
                found.append((extent, f"{path}:{lines[start]}", f"{other}:{other_lines[second]}"))
    return sorted(found, reverse=True)


def main():
    found = find()
    for lines, place, other in found[:12]:
        print(f"{place}: {lines} lines much like {other}")
    print(f"duplicates: {len(found)} places worth a look (advisory)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
