#!/usr/bin/env python3
"""menura-img and menura-io against Debian's qemu-img and qemu-io, in turn: conversions, reading and writing, opening large images and long
chains, check and map of a fragmented image. Files lie in $TMPDIR (say a tmpfs and a disk in turn).

  ./x bench block [--rounds 3] [--only WORD]"""

import argparse
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

SIZE = 512 << 20
BIN = os.path.abspath(os.environ.get("MENURA_BIN", "build/release/bin"))
IMG = {"menura": f"{BIN}/menura-img", "qemu": "qemu-img"}
IO = {"menura": f"{BIN}/menura-io", "qemu": "qemu-io"}


def run(*command):
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def make_raw(name, full):
    """Half of it noise, a quarter text, when full; else a sixteenth."""
    chance = random.Random(1)
    noise, text = chance.randbytes(1 << 20), (b"all work and no play makes a dull boy; " * 27000)[:1 << 20]
    with open(name, "wb") as file:
        file.truncate(SIZE)
        for i in range(SIZE >> 20):
            if full and i % 4 != 3 or i % 16 == 0:
                file.seek(i << 20)
                file.write(text if i % 4 == 2 else noise)


def prepare():
    make_raw("full.raw", True)
    make_raw("sparse.raw", False)
    run("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "full.raw", "full.qcow2")
    run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", "full.raw", "packed.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "large.qcow2", "1T")
    run("qemu-io", "-f", "qcow2", *sum((["-c", f"write {i * 7}G 64k"] for i in range(140)), []), "large.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "chain0", "1G")
    for i in range(1, 50):
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", f"chain{i - 1}", "-F", "qcow2", f"chain{i}")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", "pieces.qcow2", "512M")
    order = list(range(0, 512 << 8, 4))
    random.Random(2).shuffle(order)
    for i in range(0, len(order), 8192):
        with subprocess.Popen(["qemu-io", "-f", "qcow2", "-t", "unsafe", "pieces.qcow2"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as io:
            io.communicate("".join(f"write {at * 4096} 4k\n" for at in order[i:i + 8192]))


def convert(*arguments):
    def case(who):
        run(IMG[who], "convert", *arguments)
    return case


def bench(fmt, file, *arguments):
    return lambda who: run(IMG[who], "bench", "-f", fmt, *arguments, file)


def info_of_chain(who):
    run(IO[who], "-r", "-f", "qcow2", "-c", "read 0 64k", "chain49")


CASES = {
    "convert raw to qcow2, full": convert("-f", "raw", "-O", "qcow2", "full.raw", "out"),
    "convert raw to qcow2, sparse": convert("-f", "raw", "-O", "qcow2", "sparse.raw", "out"),
    "convert raw to qcow2, compressed": convert("-c", "-f", "raw", "-O", "qcow2", "full.raw", "out"),
    "convert qcow2 to raw, full": convert("-f", "qcow2", "-O", "raw", "full.qcow2", "out"),
    "convert qcow2 to raw, compressed": convert("-f", "qcow2", "-O", "raw", "packed.qcow2", "out"),
    "convert raw to raw": convert("-f", "raw", "-O", "raw", "full.raw", "out"),
    "read 4k depth 1, raw": bench("raw", "full.raw", "-c", "20000", "-d", "1"),
    "read 4k depth 64, raw": bench("raw", "full.raw", "-c", "60000", "-d", "64"),
    "read 4k depth 64 stride 1M+4k, qcow2": bench("qcow2", "full.qcow2", "-c", "60000", "-d", "64", "-S", str((1 << 20) + 4096)),
    "read 4k depth 1, qcow2": bench("qcow2", "full.qcow2", "-c", "20000", "-d", "1"),
    "read 2M depth 4, qcow2": bench("qcow2", "full.qcow2", "-c", "1000", "-d", "4", "-s", "2M"),
    "write 4k depth 64 in place, qcow2": bench("qcow2", "full.qcow2", "-w", "-c", "40000", "-d", "64", "-t", "writeback"),
    "write 64k depth 16 in place, raw": bench("raw", "out.raw", "-w", "-c", "8000", "-d", "16", "-s", "64k"),
    "open 1 TiB qcow2, map it": lambda who: run(IMG[who], "map", "-f", "qcow2", "large.qcow2"),
    "open 1 TiB qcow2, info": lambda who: run(IMG[who], "info", "-f", "qcow2", "large.qcow2"),
    "open a chain of 50, read": info_of_chain,
    "check a fragmented image": lambda who: run(IMG[who], "check", "-q", "-f", "qcow2", "pieces.qcow2"),
    "map a fragmented image": lambda who: run(IMG[who], "map", "-f", "qcow2", "--output=json", "pieces.qcow2"),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    options = parser.parse_args()
    missing = [tool for tool in ("qemu-img", "qemu-io") if not shutil.which(tool)]
    if missing:
        sys.exit("bench block: not installed: " + ", ".join(missing))
    with tempfile.TemporaryDirectory(prefix="menura-bench-block-") as folder:
        os.chdir(folder)
        prepare()
        make_raw("out.raw", False)
        print(f"{'':42} {'menura':>10} {'qemu':>10}   ratio (above 1: menura is faster)")
        for name, case in CASES.items():
            if options.only not in name:
                continue
            seconds = {"menura": [], "qemu": []}
            for _ in range(options.rounds):
                for who, all_of in seconds.items():
                    began = time.monotonic()
                    case(who)
                    all_of.append(time.monotonic() - began)
            mine, theirs = (statistics.median(seconds[who]) for who in ("menura", "qemu"))
            print(f"{name:42} {mine:8.3f} s {theirs:8.3f} s   {theirs / mine:.2f}", flush=True)


if __name__ == "__main__":
    main()
