"""The JIT's suite: the workloads of bench/guest/ natively, under QEMU's TCG and under menura, in turn.

./x bench jit [WORKLOAD...] [--quick] [--rounds N] [--only native,qemu,menura]

Each workload's figure is the host CPU time that it cost: natively its own, in a guest that of the emulator's
process between two lines on the serial port. So a loaded host disturbs less than with wall-clock time; caches
and sibling threads are shared all the same, and only ratios of one run count. Medians of the rounds; a checksum
that differs from the native one fails the suite.
"""

import argparse
import json
import math
import os
import re
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(os.environ.get("MENURA_ROOT", Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(ROOT / "tools"))

import guest  # noqa: E402
import setup  # noqa: E402

SOURCES = ROOT / "bench/guest"
WORK = ROOT / "build/bench/guest"
WORKLOAD = WORK / "root/bench/wl"
INITRD = WORK / "initrd.gz"
PACKAGES = ("gcc", "libc6-dev", "liblua5.4-dev", "libsqlite3-dev", "libzstd-dev", "zlib1g-dev", "liblzma-dev",
            "busybox-static", "cpio", "qemu-system-x86")

# Class, its workloads, and what issue 3 demands: times as fast as QEMU's TCG.
CLASSES = [
    ("integer", "int_loop int_dhry int_core sha256 sort hash callret vcall interp", 3),
    ("applications", "gzip zstd xz sqlite lua", 3.5),
    ("scalar FP", "nbody linpack fft mandel", 12),
    ("SIMD", "vint_sse2 vint_avx2 vflt_sse2 vflt_avx2", 20),
    ("x87", "x87", 40),
    ("string and copy", "stream memcpy repstr", 20),
    ("latency", "chase_l1 chase_64m", 1),
    ("system calls", "syscall", 1),
    ("pipe", "pipe", 3.5),
    ("pages and processes", "pagefault fork shexec", 2),
    ("self-modifying code", "smc", 10),
]
NAMES = [name for _, names, _ in CLASSES for name in names.split()]
QUICK = "int_dhry sha256 callret interp zstd sqlite lua nbody linpack vint_avx2 repstr syscall pagefault fork smc".split()

INIT = """#!/bench/busybox sh
/bench/busybox mount -t proc none /proc
/bench/busybox mount -t sysfs none /sys
/bench/busybox mount -t devtmpfs none /dev
echo INIT-REACHED
for word in $(/bench/busybox cat /proc/cmdline); do
  case $word in wl=*) names=${word#wl=};; div=*) divisor=${word#div=};; esac
done
for name in $(echo $names | /bench/busybox tr , ' '); do /bench/wl /$divisor $name; done
echo BENCH-DONE
/bench/wl poweroff
"""


def run(command, **more):
    return subprocess.run(command, check=True, text=True, **more)


def build_workloads():
    """The static program of all workloads and the initial RAM disk that runs it."""
    newest = max(path.stat().st_mtime for path in [*SOURCES.iterdir(), Path(__file__)])
    if INITRD.exists() and INITRD.stat().st_mtime > newest:
        return
    missing = [package for package in PACKAGES if not setup.is_installed(package)]
    if missing:
        raise SystemExit(f"bench jit: needs Debian's {' '.join(missing)}")
    root = WORK / "root"
    for folder in ("bench", "proc", "sys", "dev", "tmp", "bin"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    flags = "-D_GNU_SOURCE -O2 -g0 -fno-pie -Wno-unused-result -ffp-contract=off -fno-math-errno".split()
    vector = "-O3 -fno-trapping-math".split()
    variants = [(name, name, []) for name in ("main", "w_int", "w_app", "w_sys", "w_fp")]
    variants.append(("w_vec", "w_vec_sse2", [*vector, "-msse2", "-DSUFFIX=_sse2"]))
    variants.append(("w_vec", "w_vec_avx2", [*vector, "-mavx2", "-mfma", "-ffp-contract=fast", "-DSUFFIX=_avx2"]))
    for source, made, more in variants:
        run(["gcc", *flags, *more, "-c", str(SOURCES / f"{source}.c"), "-o", str(WORK / f"{made}.o")])
    objects = [str(WORK / f"{made}.o") for _, made, _ in variants]
    libraries = "-llua5.4 -lsqlite3 -lzstd -lz -llzma -lm -ldl -lpthread".split()
    linked = subprocess.run(["gcc", "-static", "-no-pie", "-s", *objects, "-o", str(WORKLOAD), *libraries], text=True,
                            stderr=subprocess.PIPE)
    if linked.returncode:
        raise SystemExit(linked.stderr)
    run(["gcc", *flags, "-static", "-no-pie", "-s", str(SOURCES / "true.c"), "-o", str(root / "bench/true")])
    run(["cp", "/bin/busybox", str(root / "bench/busybox")])
    if not (root / "bin/sh").is_symlink():
        (root / "bin/sh").symlink_to("/bench/busybox")
    (root / "init").write_text(INIT)
    (root / "init").chmod(0o755)
    run(f"find . | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0 | gzip -1 > {INITRD}", shell=True, cwd=root)


LINE = re.compile(r"BENCH (\S+) ([\d.]+) cpu ([\d.]+) sum (\w+)")


class Figures:
    """What one way of running gave: {workload: [seconds of CPU]} and {workload: checksum}."""

    def __init__(self):
        self.seconds, self.sums = {}, {}

    def add(self, name, seconds, checksum):
        self.seconds.setdefault(name, []).append(seconds)
        self.sums.setdefault(name, checksum)

    def median(self, name):
        return statistics.median(self.seconds[name]) if name in self.seconds else None


def run_native(figures, names, divisor):
    cpu = {min(os.sched_getaffinity(0))}
    for name in names:
        done = run([str(WORKLOAD), f"/{divisor}", name], stdout=subprocess.PIPE, preexec_fn=lambda: os.sched_setaffinity(0, cpu))
        if match := LINE.search(done.stdout):
            figures.add(name, float(match[3]), match[4])


def cpu_seconds(pid):
    """CPU time of a process's living threads; those that ended had nothing to do with the guest's work."""
    total = 0
    for task in Path(f"/proc/{pid}/task").iterdir():
        try:
            total += int((task / "schedstat").read_text().split()[0])
        except OSError:
            pass
    return total / 1e9


def run_guest(figures, emulator, names, divisor, limit):
    kernel, _ = guest.prepare()
    append = f"console=ttyS0 panic=-1 quiet wl={','.join(names)} div={divisor}"
    command = [*emulator, "-m", "1024", "-display", "none", "-serial", "stdio", "-monitor", "none", "-no-reboot", "-kernel",
               str(kernel), "-initrd", str(INITRD), "-append", append]
    process = subprocess.Popen(command, text=True, errors="replace", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    deadline, before, finished, tail = time.monotonic() + limit, 0.0, False, []
    try:
        for line in process.stdout:
            tail = [*tail[-20:], line.rstrip()]
            if "INIT-REACHED" in line:
                before = cpu_seconds(process.pid)
                figures.add("boot", before, "")
            elif match := LINE.search(line):
                now = cpu_seconds(process.pid)
                figures.add(match[1], now - before, match[4])
                before = now
            finished |= "BENCH-DONE" in line
            if finished or time.monotonic() > deadline:
                break
    finally:
        process.kill()
        process.wait()
    if not finished:
        print(*tail, sep="\n")
        print(f"bench jit: {emulator[0]} did not finish the suite")


def geomean(values):
    return math.exp(sum(map(math.log, values)) / len(values)) if values else None


def cell(value, form="{:.2f}"):
    return form.format(value) if value is not None else "-"


def ratio(a, b):
    return a / b if a and b else None


def print_tables(figures, names):
    native, qemu, menura = (figures[who] for who in ("native", "qemu", "menura"))
    print("\n| workload | native s | QEMU s | menura s | menura / native | times as fast as QEMU |")
    print("|---|---:|---:|---:|---:|---:|")
    for name in ["boot", *names]:
        n, q, m = (f.median(name) for f in (native, qemu, menura))
        print(f"| {name} | {cell(n, '{:.3f}')} | {cell(q, '{:.3f}')} | {cell(m, '{:.3f}')} | {cell(ratio(m, n))} | {cell(ratio(q, m))} |")
    print("\n| class | QEMU / native | menura / native | times as fast as QEMU | goal |")
    print("|---|---:|---:|---:|---:|")
    for title, members, goal in [*CLASSES, ("all", " ".join(names), 5)]:
        chosen = [name for name in members.split() if name in names]
        rows = [(native.median(w), qemu.median(w), menura.median(w)) for w in chosen]
        columns = ([r for r in (ratio(row[a], row[b]) for row in rows) if r] for a, b in ((1, 0), (2, 0), (1, 2)))
        means = [cell(geomean(column)) for column in columns]
        if chosen:
            print(f"| {title} | {means[0]} | {means[1]} | {means[2]} | {goal} |")


def wrong_sums(figures):
    wrong = []
    for who in ("qemu", "menura"):
        for name, checksum in figures[who].sums.items():
            expected = figures["native"].sums.get(name) or figures["qemu"].sums.get(name)
            if name != "boot" and expected and checksum != expected:
                wrong.append(f"{who} computes {name} wrongly: {checksum} instead of {expected}")
    return wrong


def main():
    parser = argparse.ArgumentParser(prog="./x bench jit", description=__doc__.split("\n\n")[0])
    parser.add_argument("workloads", nargs="*", help="all by default")
    parser.add_argument("--quick", action="store_true", help="one round of fewer, shorter workloads")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--divisor", type=int, default=0, help="of the workloads' lengths")
    parser.add_argument("--only", default="native,qemu,menura")
    parser.add_argument("--cpu", default="max")
    options = parser.parse_args()
    names = options.workloads or (QUICK if options.quick else NAMES)
    if unknown := [name for name in names if name not in NAMES]:
        raise SystemExit(f"no workload is called {' '.join(unknown)}; there are: {' '.join(NAMES)}")
    rounds, divisor = (1, 4) if options.quick else (options.rounds, 1)
    divisor = options.divisor or divisor
    build_workloads()
    program = str(Path(os.environ.get("MENURA_BIN", ROOT / "build/bench/bin")) / "menura-system-x86_64")
    figures = {who: Figures() for who in ("native", "qemu", "menura")}
    only = options.only.split(",")
    for _ in range(rounds):
        if "native" in only:
            run_native(figures["native"], names, divisor)
        if "qemu" in only:
            run_guest(figures["qemu"], ["qemu-system-x86_64", "-accel", "tcg", "-cpu", options.cpu], names, divisor, 900)
        if "menura" in only:
            run_guest(figures["menura"], [program, "-accel", "jit", "-cpu", options.cpu], names, divisor, 900)
    print(f"load average {os.getloadavg()[0]:.1f}, {rounds} rounds, lengths divided by {divisor}")
    print_tables(figures, names)
    results = ROOT / "build/bench/results"
    results.mkdir(parents=True, exist_ok=True)
    (results / "jit.json").write_text(json.dumps({who: f.seconds for who, f in figures.items()}, indent=1))
    failures = wrong_sums(figures)
    failures += [f"menura did not run {name}" for name in names if "menura" in only and name not in figures["menura"].seconds]
    print(*failures, sep="\n")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
