#!/usr/bin/env python3
"""A boot from the network: SeaBIOS starts iPXE from a card's boot ROM, which fetches its script, Debian's kernel and an initial RAM
disk from the user network's TFTP server.

usage: netboot.py PROGRAM [MODEL...]. Exit status 77 when the guest's files cannot be had."""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import guest  # noqa: E402

SECONDS = 240
IPXE = "#!ipxe\nkernel vmlinuz console=ttyS0 menura.script panic=-1 initrd=initrd.gz\ninitrd initrd.gz\nboot\n"


def run(program, model):
    with tempfile.TemporaryDirectory() as folder:
        served = Path(folder)
        shutil.copy(guest.KERNEL, served / "vmlinuz")
        guest.make_initrd(served / "initrd.gz", "echo BOOTED-FROM $(cat /proc/cmdline)\n")
        (served / "boot.ipxe").write_text(IPXE)
        command = [program, "-accel", "jit", "-m", "512", "-nodefaults", "-nographic", "-serial", "stdio", "-no-reboot", "-netdev",
                   f"user,id=n0,tftp={folder},bootfile=boot.ipxe", "-device", f"{model},netdev=n0,bootindex=1"]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            raise SystemExit(f"{model}: not done after {SECONDS} s:\n{(error.stdout or b'').decode(errors='replace')}")
    text = done.stdout.decode(errors="replace")
    booted = [line for line in text.splitlines() if line.startswith("BOOTED-FROM") and "initrd=initrd.gz" in line]
    if done.returncode or not booted:
        raise SystemExit(f"{text}\n{model}: status {done.returncode}, not booted")
    print(f"{model}: {booted[0]}")


def main():
    program = sys.argv[1]
    if not os.path.exists("/usr/lib/ipxe/qemu"):
        print("SKIPPED: ipxe-qemu is not installed")
        sys.exit(77)
    try:
        guest.prepare()
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"SKIPPED: no guest kernel: {error}")
        sys.exit(77)
    for model in sys.argv[2:] or ["e1000", "rtl8139", "ne2k_pci"]:
        run(program, model)


if __name__ == "__main__":
    main()
