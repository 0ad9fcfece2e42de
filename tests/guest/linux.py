#!/usr/bin/env python3
"""Debian's kernel under the JIT, to a busybox userland that proves itself on the serial line and powers off.

usage: linux.py PROGRAM [SECONDS [CPUS...]]; exit status 77 when the guest's files cannot be had."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import guest  # noqa: E402

# Each line of the script's output is checked: arithmetic, checksums and a pipe are the guest CPU's work.
SCRIPT = """
uname -m
i=0; sum=0; while [ $i -lt 2000 ]; do i=$((i + 1)); sum=$((sum + i * i)); done; echo sum $sum
dd if=/dev/zero bs=1024 count=256 2>/dev/null | sha256sum
dd if=/dev/zero bs=1024 count=256 2>/dev/null | md5sum
seq 1 1000 | awk '{ x += 1 / $1 } END { printf "%.9f\\n", x }'
cat /proc/cpuinfo | grep -c '^processor'
dmesg | grep -c 'ACPI: PM-Timer'
"""
EXPECTED = [
    "x86_64",
    "sum 2668667000",
    "8a39d2abd3999ab73c34db2476849cddf303ce389b35826850f9a700589b4a90  -",
    "ec87a838931d4d5d2e94a04644788a55  -",
    "7.485470861",
]


def run(program, seconds, cpus):
    with tempfile.TemporaryDirectory() as folder:
        initrd = guest.make_initrd(Path(folder) / "initrd.gz", SCRIPT)
        command = [program, "-accel", "jit", "-m", "512", "-smp", str(cpus), "-nodefaults", "-nographic", "-serial", "stdio",
                   "-no-reboot", "-kernel", str(guest.KERNEL), "-initrd", str(initrd),
                   "-append", "console=ttyS0 menura.script panic=-1 no_timer_check"]
        # no_timer_check: a busy host may tick the timer too late for the kernel's own test of it.
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=seconds)
        except subprocess.TimeoutExpired as error:
            raise SystemExit(f"not done after {seconds} s; the serial line so far:\n{(error.stdout or b'').decode(errors='replace')}")
    text = done.stdout.decode(errors="replace").replace("\r", "")
    lines = text.splitlines()
    missing = [line for line in [*EXPECTED, str(cpus), "SCRIPT-DONE"] if line not in lines]
    # Not call traces as such: on a starved host the kernel prints them when it notices that time went by.
    oops = [line for line in lines if "BUG:" in line or "Oops" in line or "general protection" in line]
    if done.returncode or missing or oops:
        raise SystemExit(f"{text}\nstatus {done.returncode}, missing {missing}, kernel complaints {oops}")
    print(f"{cpus} CPU:", next(line for line in lines if line.startswith("INIT-REACHED")))


def main():
    program, seconds = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 240
    if not os.path.exists("/bin/busybox"):
        print("SKIPPED: busybox-static is not installed")
        sys.exit(77)
    try:
        guest.prepare()
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"SKIPPED: no guest kernel: {error}")
        sys.exit(77)
    for cpus in [int(c) for c in sys.argv[3:]] or [1, 2]:
        run(program, seconds, cpus)


if __name__ == "__main__":
    main()
