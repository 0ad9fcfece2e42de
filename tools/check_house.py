"""House rules that a program can see. tools/house.txt names the exceptions, each with its reason.

Rules: bare-todo, skeleton, banned-name, banned-include, banned-call, macro, header-start, room-readme, machine-path,
global. The last one reads the compiled libraries of build/dev (run after a build).
"""

import fnmatch
import re
import subprocess
import sys

import tree
from check_limits import code_only, functions

ROOM_README_LINES = 40
TEXT_SUFFIXES = (".h", ".cpp", ".def", ".py", ".md", ".txt", ".cmake", ".json", ".sh")

TODO = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b(?!\(#\d+\))")
SKELETON = "FILL IN"  # what `./x new` leaves to write
BANNED_TYPE = re.compile(r"\b(?:class|struct|enum class|enum|namespace|concept)\s+"
                         r"(\w*?(?:[Mm]anager|[Hh]elper|[Uu]tils?|[Cc]ommon|[Mm]isc)(?![a-z])\w*)")
BANNED_FILE = re.compile(r"(^|_)(manager|helpers?|utils?|common|misc|data)(_test)?\.(h|cpp|def)$")
MACRO = re.compile(r"^\s*#\s*define\s+(\w+)", re.M)
UNDEF = re.compile(r"^\s*#\s*undef\s+(\w+)", re.M)

# Rows: where it holds, where not, pattern, why. Tests are free of these two tables.
BANNED_INCLUDES = [
    ("src/hw/", None, re.compile(r"mutex|shared_mutex|thread|condition_variable|pthread\.h|chrono|fstream|fcntl\.h|"
                                 r"unistd\.h|sys/.*|cstdio|iostream"), "devices have no locks, threads, files or host clocks"),
    ("src/", None, re.compile(r"iostream|ranges|source_location|expected|format|coroutine|regex"),
     "outside of the C++ subset of this house"),
    ("src/", "src/event/", re.compile(r"random"), "randomness comes only through the Tape of event/"),
]
BANNED_CODE = [
    ("src/", "src/event/", re.compile(r"\b(?:steady|system|high_resolution)_clock::now\b|\b(?:clock_gettime|gettimeofday|"
                                      r"getrandom|s?rand|rdtsc|__rdtsc|random_device)\b"),
     "host time and randomness come only through the Tape of event/"),
    ("src/", None, re.compile(r"\bthrow\b|\bcatch\s*\(\s*\.\.\.\s*\)"),
     "no exceptions in src/ outside of consteval; third-party exceptions stop at their adapter file"),
    ("src/", None, re.compile(r"(?<!operator )\bnew\s+[A-Za-z_][\w:<>]*\s*[({\[;]|\bdelete\s+\w"),
     "no raw new or delete"),
    ("src/", None, re.compile(r"\bstd::(?:ranges::)?views?::|\branges::(?:subrange|equal_range|search|find_end|partition|"
                             r"unique|remove_if|remove|rotate)\b"),
     "range views, and algorithms that return one, do not compile with clang 14"),
    ("src/", None, re.compile(r"(?:\bstd|(?<![\w>]))::(?:_?exit|_Exit|abort|quick_exit)\s*\(|(?<![\w.:>])_?exit\s*\(\s*(?:\d|EXIT_)"),
     "only base's ensure() ends the program"),
]


def exceptions():
    """[(rule, glob of 'path' or of a symbol's name)]"""
    result = []
    for number, line in enumerate((tree.ROOT / "tools/house.txt").read_text().splitlines(), 1):
        line = line.strip()
        if line and not line.startswith("#"):
            match = re.match(r"(\S+)\s+(\S.*?):\s+(\S.*)$", line)
            if not match:
                raise SystemExit(f"tools/house.txt:{number}: expected 'rule glob: reason'")
            result.append((match[1], match[2]))
    return result


class Report:
    """Collects problems that no exception excuses, and remembers which exceptions served."""

    def __init__(self):
        self.excused_ = exceptions()
        self.used_ = set()
        self.problems = []

    def add(self, rule, path, line, message, symbol=None):
        for excuse in self.excused_:
            if excuse[0] == rule and fnmatch.fnmatchcase(symbol or path, excuse[1]):
                self.used_.add(excuse)
                return
        self.problems.append(f"{path}:{line}: {message} [{rule}]")

    def unused(self, saw_all_globals):
        return [e for e in self.excused_ if e not in self.used_ and (saw_all_globals or e[0] != "global")]


def line_at(text, index):
    return text.count("\n", 0, index) + 1


def check_names(path, code, report):
    name = path.rsplit("/", 1)[-1]
    if BANNED_FILE.search(name):
        report.add("banned-name", path, 1, f"the name {name} says nothing")
    for match in BANNED_TYPE.finditer(code):
        report.add("banned-name", path, line_at(code, match.start()), f"the name {match[1]} says nothing")


def check_banned(path, text, code, report):
    consteval = [(start, end) for _, _, start, end in functions(code) if re.search(r"\bconsteval\b", code[start:end])]
    for folder, exempt, pattern, why in BANNED_INCLUDES:
        if path.startswith(folder) and not (exempt and path.startswith(exempt)):
            for match in re.finditer(r"^\s*#\s*include\s*<([^>]+)>", text, re.M):
                if pattern.fullmatch(match[1]):
                    report.add("banned-include", path, line_at(text, match.start(1)), f"<{match[1]}>: {why}")
    # A private constructor leaves only unique_ptr<T>(new T(...)) and its like, owned from birth.
    owned = re.sub(r"\b(?:(?:unique|shared)_ptr<[\w:<>]+>\s*\w*|reset)\(\s*new\b", lambda match: " " * len(match[0]), code)
    for folder, exempt, pattern, why in BANNED_CODE:
        if path.startswith(folder) and not (exempt and path.startswith(exempt)):
            for match in pattern.finditer(owned):
                if match[0] != "throw" or not any(start < match.start() < end for start, end in consteval):
                    report.add("banned-call", path, line_at(text, match.start()), f"{match[0]}: {why}")


def check_macros(path, text, report):
    local = set(UNDEF.findall(text))
    for match in MACRO.finditer(text):
        if match[1] not in local:
            report.add("macro", path, line_at(text, match.start(1)),
                       f"macro {match[1]}: a new macro needs a decision record", symbol=match[1])


def check_code(path, text, report):
    if SKELETON in text:
        report.add("skeleton", path, line_at(text, text.index(SKELETON)), "the skeleton is not filled in")
    code = code_only(text)
    check_names(path, code, report)
    if path.endswith("_test.cpp") or not path.startswith("src/"):
        return
    check_banned(path, text, code, report)
    check_macros(path, text, report)
    if path.endswith(".h") and not text.startswith("//"):
        report.add("header-start", path, 1, "a header opens with its purpose, owner, thread rule and an example")


def own_paths():
    """A pattern for absolute paths of this machine: where the tree lies, and home folders."""
    top = tree.ROOT.parts[1]
    own = str(tree.ROOT) if top in ("usr", "tmp", "opt", "srv", "var", "mnt", "root", "home") else f"/{top}/"
    return re.compile(rf"(?<![\w.}}]){re.escape(own)}|/home/[a-z]\w*/")


def check_text(path, text, paths, report):
    for match in TODO.finditer(text):
        report.add("bare-todo", path, line_at(text, match.start()), f"{match[1]} without an issue number, as in {match[1]}(#2)")
    for match in paths.finditer(text):
        report.add("machine-path", path, line_at(text, match.start()), f"names a path of one machine: {match[0]}")


def check_rooms(report):
    for room in tree.doors():
        folder = tree.SRC / room
        readme = folder / "README.md"
        if not (folder / "CMakeLists.txt").exists():
            continue
        if not readme.exists():
            report.add("room-readme", f"src/{room}", 1, "the room has no README.md (what, law, where to start, how to test)")
        elif readme.read_text().count("\n") > ROOM_README_LINES:
            report.add("room-readme", f"src/{room}/README.md", 1, f"more than {ROOM_README_LINES} lines")


OBJECT = re.compile(r"[0-9a-f]+ .{5}.O\s+(\S+)\s+[0-9a-f]+\s+(?:\.hidden )?(.*)")
CONSTANT = re.compile(r"(?:^|::)k[A-Z]\w*$")
NOT_OURS = ("guard variable for", "DW.ref.", "std::__ioinit")
WRITABLE = re.compile(r"\.(t?data|t?bss)(?!\.rel\.ro)")


def check_globals(report):
    """Writable objects of static storage in the rooms' libraries: state that two machines would share.

    Trace events may be: their pointer in the section menura_trace gives them away. So may what is named as a constant:
    GCC 12 puts a constexpr array of deduced type among the writable data. Returns whether all libraries were there.
    """
    complete = True
    for room in tree.doors():
        library = tree.build_dir("dev") / f"lib/lib{tree.target_of(room)}.a"
        if not library.exists():
            rules = tree.SRC / room / "CMakeLists.txt"
            complete &= not (rules.exists() and "SOURCES" in rules.read_text())
            continue
        table = subprocess.run(["objdump", "-tC", str(library)], text=True, check=True, stdout=subprocess.PIPE).stdout
        objects = [match.groups() for match in map(OBJECT.match, table.splitlines()) if match]
        events = {symbol.removesuffix("Pointer") for section, symbol in objects if section == "menura_trace"}
        for section, symbol in objects:
            excused = symbol in events or CONSTANT.search(symbol) or symbol.startswith(NOT_OURS)
            if WRITABLE.match(section) and not excused:
                report.add("global", f"src/{room}", 1, f"{symbol} is a global that can change", symbol=symbol)
    return complete


def main():
    report, paths, count = Report(), own_paths(), 0
    for path in tree.files():
        if not path.endswith(TEXT_SUFFIXES) or path in ("tools/check_house.py", "tools/checks_test.py"):
            continue
        text = (tree.ROOT / path).read_text(errors="replace")
        count += 1
        check_text(path, text, paths, report)
        if path.endswith((".h", ".cpp", ".def")) and path.split("/")[0] in tree.CODE_FOLDERS:
            check_code(path, text, report)
    check_rooms(report)
    all_globals = check_globals(report)
    report.problems += [f"tools/house.txt: '{rule} {glob}' excuses nothing any more" for rule, glob in report.unused(all_globals)]
    print(*report.problems, sep="\n", end="\n" if report.problems else "")
    print(f"house: {count} files, {len(report.problems)} problems")
    return 1 if report.problems else 0


if __name__ == "__main__":
    sys.exit(main())
