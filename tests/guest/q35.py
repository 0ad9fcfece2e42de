#!/usr/bin/env python3
"""Debian's kernel on a q35 under the JIT: PCI Express configuration space, interrupts by the IOAPIC, a disk with queued commands and
a CD on the ICH9's AHCI controller; read, written, trimmed, and compared from outside.

usage: q35.py PROGRAM [CPUS...]. Exit status 77 when the guest's files cannot be had."""

import hashlib
import os
import random
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import guest  # noqa: E402

SECONDS = 280  # for one start; a busy host needs them
MODULES = ["crc32c_generic", "ahci", "sd_mod", "sr_mod"]
SCRIPT = """
dmesg -n 1
n=0; while [ ! -b /dev/sda -o ! -b /dev/sr0 ] && [ $n -lt 100 ]; do n=$((n + 1)); sleep 0.2; done
echo ecam $(dmesg | grep -c 'PCI: Using.*MMCONFIG\\|PCI: Using ECAM\\|PCI: MMCONFIG')
echo disk $(sha256sum /dev/sda | cut -d' ' -f1)
echo cd $(dd if=/dev/sr0 bs=2048 count=512 2>/dev/null | sha256sum | cut -d' ' -f1)
echo depth $(cat /sys/block/sda/device/queue_depth)
echo messages $(grep -c 'PCI-MSI.*ahci' /proc/interrupts)
for i in 0 1 2 3; do (dd if=/dev/sda of=/dev/sda bs=64k count=16 skip=$((i * 16)) seek=$((128 + i * 16)) conv=notrunc,fsync 2>/dev/null) & done
wait
echo 3 >/proc/sys/vm/drop_caches
echo after $(sha256sum /dev/sda | cut -d' ' -f1)
echo cpus $(grep -c '^processor' /proc/cpuinfo)
dmesg | grep -i 'ata.*error\\|exception Emask\\|timed out\\|BUG:\\|Oops:' > /errors
cat /errors
echo errors $(wc -l < /errors)
"""
MIB = 1 << 20


def digest(content):
    return hashlib.sha256(content).hexdigest()


def run(program, cpus):
    source = random.Random(7)
    disk, cd = bytearray(source.randbytes(16 * MIB)), source.randbytes(MIB)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "disk").write_bytes(disk)
        (folder / "cd").write_bytes(cd)
        initrd = guest.make_initrd(folder / "initrd.gz", SCRIPT, modules_of=guest.kernel_package(), modules=MODULES)
        command = [program, "-accel", "jit", "-machine", "q35", "-m", "512", "-smp", str(cpus), "-nodefaults", "-nographic",
                   "-serial", "stdio", "-no-reboot", "-kernel", str(guest.KERNEL), "-initrd", str(initrd),
                   "-append", "console=ttyS0 menura.script panic=-1",
                   "-drive", f"file={folder / 'disk'},format=raw", "-drive", f"file={folder / 'cd'},format=raw,media=cdrom"]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            raise SystemExit(f"not done after {SECONDS} s; the serial line so far:\n{(error.stdout or b'').decode(errors='replace')}")
        written = (folder / "disk").read_bytes()
    text = done.stdout.decode(errors="replace").replace("\r", "")
    before = digest(disk)
    disk[8 * MIB:12 * MIB] = disk[:4 * MIB]
    expected = [f"disk {before}", f"cd {digest(cd)}", "depth 32", "messages 1", f"after {digest(disk)}", f"cpus {cpus}", "errors 0",
                "SCRIPT-DONE"]
    lines = text.splitlines()
    missing = [line for line in expected if line not in lines]
    if not any(line.startswith("ecam ") and line != "ecam 0" for line in lines):
        missing.append("ecam")
    if digest(written) != digest(disk):
        missing.append("the image as the guest saw it")
    if done.returncode or missing:
        raise SystemExit(f"{text}\nstatus {done.returncode}, missing {missing}")
    print(f"q35, {cpus} CPU:", next(line for line in lines if line.startswith("INIT-REACHED")))


def main():
    if not os.path.exists("/bin/busybox"):
        print("SKIPPED: busybox-static is not installed")
        sys.exit(77)
    try:
        guest.prepare()
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"SKIPPED: no guest kernel: {error}")
        sys.exit(77)
    for cpus in [int(count) for count in sys.argv[2:]] or [1]:
        run(sys.argv[1], cpus)


if __name__ == "__main__":
    main()
