"""Size limits: functions of at most 100 lines and 6 parameters, files of 1000 lines, headers of 250.

`*.def` files are exempt. tools/limits.txt names the exceptions, each with its reason.
"""

import bisect
import re
import sys

import tree

FUNCTION_LINES, PARAMETERS, FILE_LINES, HEADER_LINES = 100, 6, 1000, 250

# What may hold C++ text that is not code: raw strings, comments, strings, characters (not digit separators).
NOT_CODE = re.compile(
    r'R"(?P<mark>[^()\\\s]{0,16})\((?:.|\n)*?\)(?P=mark)"'
    r'|//(?:[^\n\\]|\\.|\\\n)*|/\*(?:.|\n)*?\*/'
    r'|"(?:[^"\\\n]|\\(?:.|\n))*"'
    r"|(?<![0-9a-fA-F])'(?:[^'\\\n]|\\.)+'")
DIRECTIVE = re.compile(r"^[ \t]*#(?:[^\n\\]|\\.|\\\n)*", re.M)
BLOCK_WORDS = re.compile(r"\b(if|for|while|switch|catch|namespace|class|struct|union|enum|extern|do|else|try)\b")
TOKEN = re.compile(r"[{};]")


def blank(match):
    return re.sub(r"[^\n]", " ", match[0])


def code_only(text):
    """The text with comments, literals and preprocessor lines turned into blanks; positions stay."""
    return DIRECTIVE.sub(blank, NOT_CODE.sub(blank, text))


def closing(text, start):
    """Index of the bracket that closes the one at `start`."""
    pairs = {"(": ")", "{": "}"}
    opening, depth = text[start], 0
    for match in re.finditer(f"[{re.escape(opening + pairs[opening])}]", text[start:]):
        depth += 1 if match[0] == opening else -1
        if depth == 0:
            return start + match.start()
    return len(text) - 1


def parameter_count(parameters):
    """Number of top-level commas plus one; template arguments and nested brackets do not count."""
    depth, count = 0, 0 if parameters.strip() in ("", "void") else 1
    for character in re.sub(r"->|<<|>=|<=", "  ", parameters):
        depth += character in "(<[{"
        depth -= character in ")>]}"
        count += character == "," and depth == 0
    return count


def without_templates(head):
    """The head without its `template <...>` prefixes."""
    while match := re.match(r"\s*template\s*<", head):
        depth, index = 1, match.end()
        while depth and index < len(head):
            depth += (head[index] == "<") - (head[index] == ">" and head[index - 1] != "-")
            index += 1
        head = head[index:]
    return head


def function_head(head):
    """(name, parameters, rest after them) if the text before a '{' heads a function definition, else None."""
    head = without_templates(head)
    head = re.sub(r"^\s*(?:public|protected|private)\s*:(?!:)", " ", head)
    head = re.sub(r"\b(?:alignas|requires|noexcept|decltype|__attribute__)\s*\((?:[^()]|\([^()]*\))*\)", " ", head)
    match = re.search(r"((?:[\w:]+::)?\boperator\s*(?:\(\s*\)|[^\s\w(]{1,3})|[\w:~]+)\s*\(", head)
    if not match or "=" in re.sub(r"operator\s*\S+|[=!<>]=", "", head[:match.start()]):
        return None
    if BLOCK_WORDS.search(head[:match.end(1)]):
        return None
    end = closing(head, match.end() - 1)
    return match[1], head[match.end():end], head[end + 1:]


def is_member_initialiser(rest):
    """Whether the '{' after this text opens `: member{value}` rather than the constructor's body."""
    return re.search(r"(?<!:):(?!:)", rest) is not None and re.search(r"[\w>]\s*$", rest) is not None


def functions(code):
    """Yields (name, parameters, start index, end index) of each function body in the code-only text."""
    position, head_start = 0, 0
    while token := TOKEN.search(code, position):
        position = token.end()
        if token[0] == "{":
            text = code[head_start:token.start()]
            head = function_head(text)
            if head and is_member_initialiser(head[2]):
                position = closing(code, token.start()) + 1
                continue
            if head:
                end = closing(code, token.start())
                yield head[0], head[1], token.start() - len(text.lstrip()), end
                position = end + 1
            elif text.strip() and not is_scope(text):
                position = closing(code, token.start()) + 1  # an initialiser: no functions inside
                continue
        head_start = position


def is_scope(head):
    return re.search(r"\b(namespace|class|struct|union|enum|extern)\b", head) is not None


def exceptions():
    """{'path' or 'path function': reason}"""
    result = {}
    path = tree.ROOT / "tools/limits.txt"
    for number, line in enumerate(path.read_text().splitlines(), 1):
        line = line.strip()
        if line and not line.startswith("#"):
            name, _, reason = line.partition(":")
            if not reason.strip():
                raise SystemExit(f"tools/limits.txt:{number}: an exception needs a reason after ':'")
            result[name.strip()] = reason.strip()
    return result


def check_file(path, excused, used):
    text = (tree.ROOT / path).read_text()
    starts = [0] + [match.end() for match in re.finditer("\n", text)]
    line_of = lambda index: bisect.bisect_right(starts, index)
    problems = []

    def report(key, line, message):
        if key in excused:
            used.add(key)
        else:
            problems.append(f"{path}:{line}: {message}")

    lines, limit = text.count("\n"), HEADER_LINES if path.endswith(".h") else FILE_LINES
    if lines > limit:
        report(path, 1, f"{lines} lines, the limit is {limit}")
    for name, parameters, start, end in functions(code_only(text)):
        length = line_of(end) - line_of(start) + 1
        if length > FUNCTION_LINES:
            report(f"{path} {name}", line_of(start), f"{name} has {length} lines, the limit is {FUNCTION_LINES}")
        count = parameter_count(parameters)
        if count > PARAMETERS:
            report(f"{path} {name}", line_of(start), f"{name} has {count} parameters, the limit is {PARAMETERS}")
    return problems


def main():
    excused, used, problems = exceptions(), set(), []
    checked = tree.sources(".h", ".cpp")
    for path in checked:
        problems += check_file(path, excused, used)
    problems += [f"tools/limits.txt: '{key}' needs no exception any more" for key in excused if key not in used]
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"limits: {len(checked)} files, {len(problems)} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
