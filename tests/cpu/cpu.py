#!/usr/bin/env python3
"""The programs of tests/cpu, which try the CPU without an operating system: translated, stepped, and in lockstep.

usage: cpu.py PROGRAM FOLDER, which holds cpu64.bin and cpu32.bin. MENURA_PEER=qemu-system-x86_64 runs that instead and tells where it
differs from what is known of it."""

import os
import subprocess
import sys

WAYS = ["jit", "jit,backend=interp", "jit,lockstep=interp"]
SECONDS = 150  # for one run; a busy host needs them

# Groups in which Debian 12's QEMU under TCG does not do what the manuals say: reserved bits without P in the error code, no SMAP for
# an LDT, no #SS for RSP and RBP, CMPXCHG's and shifts' first access as a read, no INT1, RF or GD, no T bit of a TSS, no limits in v86.
KNOWN = ["paging: SMAP", "paging: reserved bits", "precision: each access", "precision: addresses that are none",
         "syscall: SYSCALL and SYSRET", "debug: single steps", "debug: registers", "tasks: what is refused", "v86: ports and limits",
         "paging in two levels", "paging by PAE"]


def run(program, accelerator, image):
    command = [program, "-accel", accelerator, "-cpu", "max", "-m", "64", "-nodefaults", "-display", "none", "-serial", "stdio",
               "-no-reboot", "-kernel", image]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=SECONDS)
    except subprocess.TimeoutExpired as error:
        return (error.stdout or b"").decode(errors="replace") + f"\nnot done after {SECONDS} s\n"
    return done.stdout + done.stderr + (f"\nstatus {done.returncode}\n" if done.returncode else "")


def failing_groups(text):
    """The names of groups that did not end well; a name is up to the two spaces or the verdict that follow it."""
    groups, current = [], None
    for line in text.splitlines():
        if not line.startswith(" "):
            current = line.removesuffix(" ok").removesuffix(" FAILED")
        if "FAILED" in line and current not in groups:
            groups.append(current)
    return groups


def main():
    program, folder = sys.argv[1:]
    peer = os.environ.get("MENURA_PEER")
    bad = 0
    for name in ("cpu32", "cpu64"):
        for way in ["tcg"] if peer else WAYS:
            text = run(peer or program, way, f"{folder}/{name}.bin")
            ended = "groups " in text
            failed = failing_groups(text)
            if peer:
                print(f"{name} under {peer}: differs as known in {[g for g in failed if g in KNOWN]}")
                failed = [g for g in failed if g not in KNOWN]
            good = ended and not failed and (peer or ", failures 0" in text)
            print(f"{name} {way}: {text.splitlines()[-1] if good else 'FAILED'}", flush=True)
            if not good:
                print(text)
                bad = 1
    return bad


sys.exit(main())
