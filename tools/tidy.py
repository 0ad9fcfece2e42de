"""Runs clang-tidy 14 over the sources of src/ with the lint preset's compile commands.

A source that passed is not read again until it, a header of the tree that it includes, or the settings change.
"""

import functools
import json
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

import build
import clean
import tree

TOOL = "clang-tidy-14"


@functools.cache
def includes(path):
    """The files of src/ that one file includes directly."""
    names = tree.INCLUDE.findall((tree.ROOT / path).read_text())
    return [f"src/{name}" for name in names if (tree.SRC / name).is_file()]


def closure(path):
    """The file and all of src/ that it includes, directly or not."""
    seen, open_ = {path}, [path]
    while open_:
        for name in includes(open_.pop()):
            if name not in seen:
                seen.add(name)
                open_.append(name)
    return sorted(seen)


def check(path):
    done = subprocess.run([TOOL, "--quiet", "-p", str(tree.build_dir("lint")), path], cwd=tree.ROOT, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return path, done.returncode, done.stdout


def split_findings(output):
    """Each finding with its lines of source; one in a header comes with every source that includes it."""
    return [finding.strip() for finding in re.split(r"^(?=\S+:\d+:\d+: (?:error|warning):)", output, flags=re.M)
            if finding.strip()]


def run():
    build.configure("lint")
    build.reconfigure("lint")
    commands = json.loads((tree.build_dir("lint") / "compile_commands.json").read_text())
    known = {command["file"].removeprefix(f"{tree.ROOT}/") for command in commands}
    cache = clean.CleanCache("tidy", (tree.ROOT / ".clang-tidy").read_text() + (tree.ROOT / "cmake/flags.cmake").read_text())
    sources = [f for f in tree.sources(".cpp") if f.startswith("src/") and f in known and not f.endswith("_test.cpp")]
    dirty = [f for f in sources if not cache.is_clean(cache.digest(*closure(f)))]
    failed, findings = 0, {}
    with ThreadPoolExecutor(tree.jobs()) as pool:
        for path, status, output in pool.map(check, dirty):
            if status:
                failed += 1
                findings |= dict.fromkeys(split_findings(output.replace(f"{tree.ROOT}/", "")))
            else:
                cache.add(cache.digest(*closure(path)))
    cache.save()
    print(*findings, sep="\n", end="\n" if findings else "")
    print(f"tidy: {len(sources)} sources, {len(dirty)} read, {failed} with findings")
    return 1 if failed else 0
