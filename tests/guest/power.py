#!/usr/bin/env python3
"""Debian's kernel under the JIT through all ways of ending and beginning again: each action in turn, and the kernel must come to
its shell after it.

usage: power.py PROGRAM ACTION...; actions: reboots by kbd, triple, acpi, pci; panic; s3 (suspend, woken by the clock)."""

import os
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from console import Guest, skip  # noqa: E402

import guest  # noqa: E402

SUSPEND = "echo kept > /tmp/kept; echo +3 > /sys/class/rtc/rtc0/wakealarm; echo mem > /sys/power/state; cat /tmp/kept"


def perform(system, action):
    """Returns whether the kernel starts again."""
    if action == "s3":
        output, _ = system.run(SUSPEND)
        if "PM: suspend entry (deep)" not in output or not output.rstrip().endswith("kept"):
            system.fail("memory did not survive the suspension")
        return False
    if action == "panic":
        system.type("echo c > /proc/sysrq-trigger\n")
        system.expect("Kernel panic - not syncing")
    else:
        output, _ = system.run(f"echo {action} > /sys/kernel/reboot/type; cat /sys/kernel/reboot/type")
        if output.strip() != action:
            system.fail(f"the kernel knows no reboot by {action}")
        system.type("reboot -f\n")
    return True


def await_shell(system):
    system.expect("INIT-REACHED")
    system.expect(r"root# ")


def main():
    os.environ["MENURA_BIN"] = os.path.dirname(os.path.abspath(sys.argv[1]))
    actions = sys.argv[2:]
    try:
        kernel, initrd = guest.prepare()
    except (subprocess.CalledProcessError, OSError) as error:
        skip(f"no guest: {error}")
    with Guest(["-m", "512", "-kernel", str(kernel), "-initrd", str(initrd), "-append",
                        "console=ttyS0 panic=1"], 250) as system:
        await_shell(system)
        for action in actions:
            if perform(system, action):
                await_shell(system)
            print(f"{action}: ok", flush=True)
        system.type("poweroff -f\n")
        system.ends()
    print("off: ok")


if __name__ == "__main__":
    main()
