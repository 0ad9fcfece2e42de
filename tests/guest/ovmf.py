#!/usr/bin/env python3
"""Debian's UEFI firmware (package ovmf) from flash memory under the JIT: to its shell, which runs a script from a disk, keeps a
variable, and powers the machine off; then once more, to find the variable in the flash image.

usage: ovmf.py PROGRAM [MACHINE...]. Exit status 77 when the firmware or mtools are not installed."""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

CODE = Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
VARIABLES = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
SECONDS = 280  # for one start; a busy host needs them
SCRIPT = "\r\n".join(["@echo -off", "echo mark was %menura_mark%", "set menura_mark kept", "map -b", "ver", "reset -s", ""])


def make_disk(folder):
    """A FAT file system whose startup.nsh the shell runs."""
    disk = folder / "disk.img"
    script = folder / "startup.nsh"
    script.write_text(SCRIPT)
    with open(disk, "wb") as image:
        image.truncate(64 << 20)
    for command in (["mformat", "-i", disk, "-T", "131072", "-h", "16", "-s", "63", "::"], ["mcopy", "-i", disk, script, "::/"]):
        subprocess.run(command, check=True)
    return disk


def start(program, machine, folder, disk):
    command = [program, "-accel", "jit", "-machine", machine, "-m", "256", "-nodefaults", "-nographic", "-serial", "stdio",
               "-drive", f"if=pflash,format=raw,readonly=on,unit=0,file={CODE}",
               "-drive", f"if=pflash,format=raw,unit=1,file={folder / 'variables.fd'}",
               "-drive", f"format=raw,file={disk}"]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        raise SystemExit(f"{machine}: not done after {SECONDS} s; the serial line so far:\n{(error.stdout or b'').decode(errors='replace')}")
    text = done.stdout.decode(errors="replace")
    if done.returncode or "UEFI Interactive Shell" not in text:
        raise SystemExit(f"{machine}: status {done.returncode}\n{text}")
    return text


def run(program, machine):
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        disk = make_disk(folder)
        shutil.copy(VARIABLES, folder / "variables.fd")
        (folder / "variables.fd").chmod(0o644)
        before = start(program, machine, folder, disk)
        after = start(program, machine, folder, disk)
        if "mark was kept" in before or "mark was kept" not in after:
            raise SystemExit(f"{machine}: the variable was not kept\n{before}\n=== second start\n{after}")
    print(f"{machine}: UEFI shell, variable kept")


def main():
    if not CODE.exists() or not shutil.which("mformat"):
        print("SKIPPED: ovmf or mtools is not installed")
        sys.exit(77)
    for machine in sys.argv[2:] or ["pc"]:
        run(sys.argv[1], machine)


if __name__ == "__main__":
    main()
