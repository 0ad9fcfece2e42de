"""Formats C++ with clang-format 14; with check=True only reports. Files already seen clean are not read again."""

import subprocess

import clean
import tree

TOOL = "clang-format-14"


def run(check):
    cache = clean.CleanCache("fmt", (tree.ROOT / ".clang-format").read_text())
    dirty = [f for f in tree.sources(".h", ".cpp") if not cache.is_clean(cache.digest(f))]
    unformatted = []
    for start in range(0, len(dirty), 40):
        batch = dirty[start:start + 40]
        if not check:
            subprocess.run([TOOL, "-i", *batch], cwd=tree.ROOT, check=True)
            continue
        output = subprocess.run([TOOL, "--dry-run", *batch], cwd=tree.ROOT, text=True,
                                stderr=subprocess.PIPE).stderr
        unformatted += [f for f in batch if f"{f}:" in output]
    for file in unformatted:
        print(f"{file}: not formatted")
    for file in dirty:
        if file not in unformatted:
            cache.add(cache.digest(file))
    cache.save()
    if unformatted:
        print(f"fmt: {len(unformatted)} files differ; ./x fmt formats them")
    return 1 if unformatted else 0
