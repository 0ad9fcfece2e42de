#!/usr/bin/env python3
"""kill -9 at every write system call: what menura-io had flushed must be there afterwards, and nothing that was never written there.

Usage: kill.py MENURA_IO MENURA_IMG [POINTS [SEED [FORMAT...]]]. A seeded workload of writes, zeroings, discards and flushes runs under `strace`, which kills the
program at the n-th call of each kind that changes a file (--inject=CALL:signal=KILL:when=n): at POINTS of them for each kind of image, 0: at every one.
Requests go by one worker thread (-i threads), so that the count is exact. Only complete reply lines count as done. After each kill
the image is checked (leaks are allowed, corruptions are not), and each 4 KiB block must read as what the last flush covered, or as
something that was written to that very block since. The negative control tampers with the image after a kill, as a lost flush would: it must be seen.
A kill keeps what is in the host's page cache: the power cut is block's crash_test. Exit status 77 (skipped) without strace."""

import os
import random
import shutil
import subprocess
import sys
import tempfile

IO, IMG = (os.path.abspath(path) for path in sys.argv[1:3])
POINTS = int(sys.argv[3]) if len(sys.argv) > 3 else 40
SEED = int(sys.argv[4]) if len(sys.argv) > 4 else 1
WANTED = sys.argv[5:]
BLOCK, BLOCKS = 4096, 512
CALLS = ("pwrite64", "pwritev2", "fallocate", "ftruncate", "fdatasync", "fsync")

if not shutil.which("strace"):
    print("strace is not installed: nobody to kill at a system call")
    sys.exit(77)


def workload(seed):
    """Commands, and what each means: (block, count, value or None for a discard); None: a flush."""
    rng = random.Random(seed)
    commands, meanings = [], []
    for _ in range(60):
        what = rng.random()
        first = rng.randrange(BLOCKS - 40)
        count = rng.randrange(1, 40)
        where = f"{first * BLOCK} {count * BLOCK}"
        if what < 0.55:
            value = rng.randrange(1, 256)
            commands.append(f"write -P {value} {where}")
            meanings.append((first, count, value))
        elif what < 0.70:
            commands.append(f"write -z {'-u ' if what < 0.63 else ''}{where}")
            meanings.append((first, count, 0))
        elif what < 0.80:
            commands.append(f"discard {where}")
            meanings.append((first, count, None))
        else:
            commands.append("flush")
            meanings.append(None)
    return commands, meanings


def expectation(meanings, done):
    """The values that each block may hold when the first `done` commands were answered, and the next one may have begun."""
    now = [{0} for _ in range(BLOCKS)]  # in the order of commands, had there been no kill
    flushed = [{0} for _ in range(BLOCKS)]
    since = [set() for _ in range(BLOCKS)]
    for meaning in meanings[:done]:
        if meaning is None:
            flushed = [set(values) for values in now]
            since = [set() for _ in range(BLOCKS)]
            continue
        first, count, value = meaning
        for block in range(first, first + count):
            if value is None:
                now[block] = now[block] | {0}
                since[block] |= now[block]
            else:
                now[block] = {value}
                since[block].add(value)
    for meaning in meanings[done:done + 1]:
        if meaning is None:
            continue
        first, count, value = meaning
        for block in range(first, first + count):
            since[block].add(0 if value is None else value)
    return [a | b for a, b in zip(flushed, since)]


def answers(output, commands):
    """How many commands were answered by whole lines."""
    lines = output.split("\n")[:-1]  # what follows the last line end is no line
    at, done = 0, 0
    for command in commands:
        needed = 1 if command == "flush" else 2
        if at + needed > len(lines):
            break
        at += needed
        done += 1
    return done


def run(image, fmt, commands, trace):
    # After each flush a line of its own: an answer that can be seen.
    words = [IO, "-f", fmt, "-d", "unmap", "-i", "threads"]
    for command in commands:
        words += ["-c", command]
        if command == "flush":
            words += ["-c", "length"]
    return subprocess.run(["strace", "-f", "-qq", *trace, *words, image], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=100)


def count_calls(image, fmt, commands):
    """How often the whole workload makes each call."""
    done = run(image, fmt, commands, ["-c", "-o", "count", "-e", "trace=" + ",".join(CALLS)])
    assert done.returncode == 0, done.stderr
    counts = {}
    with open("count") as f:
        for line in f:
            words = line.split()
            if words and words[-1] in CALLS:
                counts[words[-1]] = int(words[3])
    return counts


def verify(image, fmt, allowed):
    """What is wrong with the image: corrupt, lost or misdirected blocks."""
    problems = []
    if fmt in ("qcow2", "qed", "vdi"):
        check = subprocess.run(["qemu-img" if shutil.which("qemu-img") else IMG, "check", "-f", fmt, image], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if check.returncode not in (0, 3):
            problems.append("corrupt: " + check.stdout + check.stderr)
    subprocess.run([IMG, "convert", "-f", fmt, "-O", "raw", image, "content"], check=True)
    with open("content", "rb") as f:
        for block in range(BLOCKS):
            data = f.read(BLOCK)
            if len(set(data)) != 1:
                problems.append(f"block {block} is torn")
            elif data[0] not in allowed[block]:
                problems.append(f"block {block} reads {data[0]}, allowed {sorted(allowed[block])}")
    return problems


def campaign(fmt, options, points, seed):
    commands, meanings = workload(seed)

    def fresh():
        subprocess.run([IMG, "create", "-q", "-f", fmt, *options, "image", str(BLOCKS * BLOCK)], check=True)

    fresh()
    counts = count_calls("image", fmt, commands)
    places = [(call, n) for call, count in counts.items() for n in range(1, count + 1)]
    chosen = places if not points else random.Random(seed).sample(places, min(points, len(places)))
    bad, kills = 0, 0
    for call, when in chosen:
        fresh()
        done = run("image", fmt, commands, ["-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={when}"])
        kills += done.returncode != 0
        count = answers(done.stdout, commands)
        # Counts that were put off, marks and logs are made good by whoever opens the image next.
        if "lazy_refcounts=on" in options or fmt in ("vhdx", "parallels", "vdi"):
            subprocess.run([IMG, "check", "-q", "-r", "all", "image"], stdout=subprocess.DEVNULL, check=False)
        problems = verify("image", fmt, expectation(meanings, count))
        if problems:
            bad += 1
            print(f"FAILED {fmt} {options} seed {seed}, killed at {call} {when}, {count} answered: {problems[:3]}", flush=True)
    return len(places), kills, bad


def negative_control():
    """A flushed block that is gone must be found."""
    commands, meanings = ["write -P 7 0 64k", "flush", "write -P 8 64k 64k", "flush"], [(0, 16, 7), None, (16, 16, 8), None]
    subprocess.run([IMG, "create", "-q", "-f", "raw", "image", str(BLOCKS * BLOCK)], check=True)
    assert run("image", "raw", commands, ["-o", "/dev/null", "-e", "trace=none"]).returncode == 0
    assert not verify("image", "raw", expectation(meanings, 4))
    with open("image", "r+b") as f:
        f.seek(70000 // BLOCK * BLOCK)
        f.write(b"\0" * BLOCK)
    assert verify("image", "raw", expectation(meanings, 4)), "the oracle does not see a lost block"


with tempfile.TemporaryDirectory(prefix="menura-kill-") as folder:
    os.chdir(folder)
    negative_control()
    failed = 0
    kinds = [("qcow2", []), ("qcow2", ["-o", "cluster_size=4k"]), ("qcow2", ["-o", "lazy_refcounts=on"]), ("raw", []), ("qed", ["-o", "cluster_size=4k"]),
             ("vdi", []), ("vhdx", ["-o", "block_size=1M"]), ("vmdk", []), ("parallels", ["-o", "cluster_size=64k"]), ("vpc", ["-o", "force_size=on"])]
    for fmt, options in kinds:
        if WANTED and fmt not in WANTED:
            continue
        total, kills, bad = campaign(fmt, options, POINTS, SEED)
        failed += bad
        print(f"{fmt} {' '.join(options)}: {total} calls, killed at {kills}, {bad} bad", flush=True)
        failed += kills == 0
sys.exit(1 if failed else 0)
