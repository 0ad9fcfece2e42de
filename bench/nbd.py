#!/usr/bin/env python3
"""menura-nbd against Debian's qemu-nbd, in turn, over a UNIX domain socket: fio's nbd engine and nbdcopy. A raw image of 512 MiB in $TMPDIR.

  ./x bench nbd [--rounds 3] [--seconds 5]"""

import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

LOADS = [("randread", "4k", 1), ("randread", "4k", 16), ("randwrite", "4k", 16), ("read", "1M", 4), ("write", "1M", 4)]
SIZE = 512 << 20


def iops(text):
    found = re.search(r"IOPS=([\d.]+)(k?)", text)
    if not found:
        sys.exit(f"fio says no IOPS:\n{text}")
    return float(found[1]) * (1000 if found[2] else 1)


def measure(program, folder, seconds):
    path = os.path.join(folder, "s.sock")
    server = subprocess.Popen([program, "-t", "-e", "0", "-f", "raw", "-k", path, os.path.join(folder, "disk.img")])
    while not os.path.exists(path):
        time.sleep(0.01)
    uri = f"nbd+unix:///?socket={path}"
    figures = {}
    try:
        for rw, size, depth in LOADS:
            command = ["fio", "--name=t", "--ioengine=nbd", f"--uri={uri}", f"--rw={rw}", f"--bs={size}", f"--iodepth={depth}",
                       f"--runtime={seconds}", "--time_based", f"--size={SIZE}"]
            figures[f"{rw} {size} depth {depth} [IOPS]"] = iops(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        started = time.monotonic()
        subprocess.run(["nbdcopy", uri, "null:"], check=True)
        figures["nbdcopy to nowhere [MiB/s]"] = SIZE / (1 << 20) / (time.monotonic() - started)
    finally:
        server.terminate()
        server.wait()
        if os.path.exists(path):
            os.unlink(path)
    return figures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=5)
    options = parser.parse_args()
    missing = [tool for tool in ("fio", "nbdcopy", "qemu-nbd") if not shutil.which(tool)]
    if missing:
        sys.exit("bench nbd: not installed: " + ", ".join(missing))
    ours = os.path.join(os.environ.get("MENURA_BIN", "build/release/bin"), "menura-nbd")
    runs = {"menura": [], "qemu": []}
    with tempfile.TemporaryDirectory(prefix="menura-bench-nbd-") as folder:
        with open(os.path.join(folder, "disk.img"), "wb") as file:
            for _ in range(SIZE >> 20):
                file.write(b"\x5a" * (1 << 20))
        for _ in range(options.rounds):
            runs["menura"].append(measure(ours, folder, options.seconds))
            runs["qemu"].append(measure("qemu-nbd", folder, options.seconds))
    print(f"load average {os.getloadavg()[0]:.1f}; medians of {options.rounds} rounds")
    for name in runs["menura"][0]:
        mine, theirs = (statistics.median(run[name] for run in runs[who]) for who in ("menura", "qemu"))
        print(f"{name:34} menura {mine:10.0f}   qemu-nbd {theirs:10.0f}   ratio {mine / theirs:.2f}")


main()
