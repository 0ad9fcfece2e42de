#!/usr/bin/env python3
"""Debian's drivers with a watchdog that is no longer tended, and a kernel that panics: the machine starts anew, then the program
ends with the status that was asked for.

usage: watchdog.py PROGRAM. Exit status 77 when the guest's files cannot be had."""

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from console import Guest, skip  # noqa: E402

import guest  # noqa: E402

DRIVERS = {"i6300esb": "i6300esb", "ib700": "ib700wdt"}


def await_shell(system):
    system.expect("INIT-REACHED")
    system.expect(r"root# ")


def let_end(system, device):
    """A program that says it comes every four seconds and then does not."""
    await_shell(system)
    system.type("watchdog -F -T 4 -t 60 /dev/watchdog\n")
    await_shell(system)
    print(f"{device}: the guest was reset", flush=True)


def panic(system):
    system.type("echo c > /proc/sysrq-trigger\n")
    system.expect("Kernel panic - not syncing")
    system.ends(1)
    print("pvpanic: the program ended with status 1")


def main():
    os.environ["MENURA_BIN"] = os.path.dirname(os.path.abspath(sys.argv[1]))
    for device, driver in DRIVERS.items():
        try:
            kernel, _ = guest.prepare()
            initrd = guest.make_initrd(guest.FOLDER / f"{device}.gz", modules_of=guest.kernel_package(), modules=[driver, "pvpanic_mmio"])
        except (subprocess.CalledProcessError, OSError) as error:
            skip(f"no guest: {error}")
        with Guest(["-m", "512", "-kernel", str(kernel), "-initrd", str(initrd), "-append", "console=ttyS0 panic=0", "-device", device,
                    "-device", "pvpanic", "-action", "panic=exit-failure"], 150) as system:
            let_end(system, device)
            panic(system)


if __name__ == "__main__":
    main()
