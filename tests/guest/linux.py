#!/usr/bin/env python3
"""Debian's kernel under the JIT, to a busybox userland that proves itself on the serial line and powers off.

usage: linux.py PROGRAM [FLAVOUR [CPUS...]]; flavours: amd64, or 686 and 686-pae of Debian's i386. Exit status 77 when the guest's
files cannot be had."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import guest  # noqa: E402

# Each line of the script's output is checked: arithmetic, checksums and a pipe are the guest CPU's work. The kernel, which would
# print into these lines, is silenced (but for emergencies) and its complaints are told at the end.
SCRIPT = """
dmesg -n 1
uname -m
i=0; sum=0; while [ $i -lt 2000 ]; do i=$((i + 1)); sum=$((sum + i * i)); done; echo sum $sum
dd if=/dev/zero bs=1024 count=256 2>/dev/null | sha256sum
dd if=/dev/zero bs=1024 count=256 2>/dev/null | md5sum
seq 1 1000 | awk '{ x += 1 / $1 } END { printf "%.9f\\n", x }'
cat /proc/cpuinfo | grep -c '^processor'
dmesg | grep -c 'ACPI: PM-Timer'
# All CPUs at work while the kernel patches its own code (a static key, switched on and off).
for i in 1 2 3 4; do (dd if=/dev/zero bs=1024 count=1024 2>/dev/null | sha256sum >/tmp/sum.$i) & jobs="$jobs $!"; done
for i in 1 2 3 4 5 6 7 8 9 10; do echo $((i % 2)) >/proc/sys/kernel/sched_schedstats; done
wait $jobs
cat /tmp/sum.* | sort | uniq -c | awk '{ print "parallel", $1, $2 }'
echo warps $(dmesg | grep -ci 'tsc warp')
dmesg | grep -E 'BUG:|Oops|general protection'
"""
SECONDS = 240  # for one start; a busy host needs them
EXPECTED = [
    "sum 2668667000",
    "8a39d2abd3999ab73c34db2476849cddf303ce389b35826850f9a700589b4a90  -",
    "ec87a838931d4d5d2e94a04644788a55  -",
    "7.485470861",
    "parallel 4 30e14955ebf1352266dc2ff8067e68104607e750abb9d3b36582b8af909fcb58",
    "warps 0",
]


def prepare(flavour):
    """Kernel, busybox and what `uname -m` says."""
    guest.prepare()
    if flavour == "amd64":
        return guest.KERNEL, "/bin/busybox", "x86_64"
    busybox = guest.package("busybox-static", "i386") / "bin/busybox"
    return guest.vmlinuz(guest.kernel_package(flavour, "i386")), busybox, "i686"


def run(program, flavour, cpus, accelerator="jit"):
    kernel, busybox, machine = prepare(flavour)
    with tempfile.TemporaryDirectory() as folder:
        initrd = guest.make_initrd(Path(folder) / "initrd.gz", SCRIPT, busybox)
        command = [program, "-accel", accelerator, "-m", "512", "-smp", str(cpus), "-nodefaults", "-nographic", "-serial", "stdio",
                   "-no-reboot", "-kernel", str(kernel), "-initrd", str(initrd),
                   "-append", "console=ttyS0 menura.script panic=-1"]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                  timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            raise SystemExit(f"not done after {SECONDS} s; the serial line so far:\n{(error.stdout or b'').decode(errors='replace')}")
    text = done.stdout.decode(errors="replace").replace("\r", "")
    lines = text.splitlines()
    missing = [line for line in [machine, *EXPECTED, str(cpus), "SCRIPT-DONE"] if line not in lines]
    # Not call traces as such: on a starved host the kernel prints them when it notices that time went by.
    oops = [line for line in lines if "BUG:" in line or "Oops" in line or "general protection" in line]
    if done.returncode or missing or oops:
        raise SystemExit(f"{text}\nstatus {done.returncode}, missing {missing}, kernel complaints {oops}")
    print(f"{flavour}, {cpus} CPU, {accelerator}:", next(line for line in lines if line.startswith("INIT-REACHED")))


def main():
    program = sys.argv[1]
    flavour = sys.argv[2] if len(sys.argv) > 2 else "amd64"
    if not os.path.exists("/bin/busybox"):
        print("SKIPPED: busybox-static is not installed")
        sys.exit(77)
    try:
        prepare(flavour)
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"SKIPPED: no guest kernel: {error}")
        sys.exit(77)
    for cpus in [int(count) for count in sys.argv[3:]] or [1]:
        run(program, flavour, cpus)
    if flavour == "amd64":
        # The cache is too small for the kernel: it is evicted from all the time.
        run(program, flavour, 2, "jit,tb-size=1M")


if __name__ == "__main__":
    main()
