"""Runs clang-tidy 14 over the sources of src/ with the lint preset's compile commands; of the build it needs only what sources include.

A source that passed is not read again until it, a header of the tree that it includes, or the settings change.
"""

import functools
import json
import re
import subprocess
import sys
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
    # Findings go to stdout. A tool that fails without one tells why on stderr.
    return done.stdout.replace(f"{tree.ROOT}/", "") or (f"{path}: {TOOL} failed: {done.stderr}" if done.returncode else "")


def split_findings(output):
    """Each finding with its lines of source; one in a header comes with every source that includes it."""
    return [finding.strip() for finding in re.split(r"^(?=\S+:\d+:\d+: (?:error|warning):)", output, flags=re.M)
            if finding.strip()]


def sources(names):
    """The sources that the build knows, below the given rooms, folders and files if any are given."""
    commands = json.loads((tree.build_dir("lint") / "compile_commands.json").read_text())
    known = {command["file"].removeprefix(f"{tree.ROOT}/") for command in commands}
    all_ = [f for f in tree.sources(".cpp") if f.startswith("src/") and f in known and not f.endswith("_test.cpp")]
    places = ["src/" + name.removeprefix("src/").strip("/") for name in names]
    for place in places:
        if not any(f == place or f.startswith(place + "/") for f in all_):
            raise SystemExit(f"./x lint: no source lies in '{place}'")
    return [f for f in all_ if not places or any(f == place or f.startswith(place + "/") for place in places)]


def run(names=()):
    build.build("lint", ["generated"])
    cache = clean.CleanCache("tidy", (tree.ROOT / ".clang-tidy").read_text() + (tree.ROOT / "cmake/flags.cmake").read_text())
    # Of the content before the check: what changes under way is checked again next time.
    digests = {path: cache.digest(*closure(path)) for path in sources(names)}
    dirty = [path for path, digest in digests.items() if not cache.is_clean(digest)]
    failed, seen, complete = 0, set(), False
    pool = ThreadPoolExecutor(tree.jobs())
    try:
        for done, (path, output) in enumerate(zip(dirty, pool.map(check, dirty)), 1):
            if sys.stdout.isatty():
                print(f"\rtidy: {done} of {len(dirty)} sources", end="", flush=True)
            if not output:
                cache.add(digests[path])
                continue
            failed += 1
            for finding in split_findings(output):
                if finding not in seen:
                    seen.add(finding)
                    print(finding, flush=True)
        complete = not names
    finally:
        pool.shutdown(cancel_futures=True)
        # What was read before an interruption need not be read again.
        cache.save(keep_others=not complete)
    print(f"tidy: {len(digests)} sources, {len(dirty)} read, {failed} with findings")
    return 1 if failed else 0
