#!/usr/bin/env python3
"""Debian's gdb debugs a guest under the JIT: SeaBIOS and our boot sector, by breakpoints, steps, watchpoints, registers and memory.

Usage: tests/gdb.py PROGRAM BOOT_SECTOR
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest

PROGRAM, BOOT_SECTOR = sys.argv[1], sys.argv[2]
GDB = shutil.which("gdb")


@unittest.skipUnless(GDB, "gdb is not installed")
class Gdb(unittest.TestCase):
    def debug(self, *commands, options=(), accelerator="tcg"):
        """What gdb prints, of a machine that waits for it before its first instruction."""
        with tempfile.TemporaryDirectory() as folder:
            path, disk = os.path.join(folder, "gdb"), os.path.join(folder, "disk.img")
            shutil.copy(BOOT_SECTOR, disk)
            os.truncate(disk, 1 << 20)
            with subprocess.Popen([PROGRAM, "-accel", accelerator, "-display", "none", "-m", "32", "-S", "-gdb", f"unix:{path}",
                                   "-drive", f"file={disk},format=raw", *options], stdin=subprocess.DEVNULL) as process:
                try:
                    while not os.path.exists(path):
                        self.assertIsNone(process.poll())
                    script = ["set pagination off", "set confirm off", "set tcp connect-timeout 30", f"target remote {path}", *commands]
                    result = subprocess.run([GDB, "-nx", "-batch", *(w for c in script for w in ("-ex", c))],
                                            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240)
                    return result.stdout + result.stderr
                finally:
                    process.kill()

    def test_the_reset_vector_and_a_step(self):
        text = self.debug("info registers rip cs eflags", "stepi", "p/x $cs", "p/x $rip", "info threads", options=("-smp", "1"))
        self.assertRegex(text, r"rip\s+0xfff0")
        self.assertRegex(text, r"cs\s+0xf000")
        # SeaBIOS begins with a far jump to f000:e05b.
        self.assertIn("$1 = 0xf000", text)
        self.assertIn("$2 = 0xe05b", text)
        self.assertIn("CPU#0", text)

    def test_a_software_breakpoint_and_memory(self):
        # The boot sector is not there yet: hardware first, software then on an instruction that comes later.
        text = self.debug("hbreak *0x7c00", "continue", "p/x $rip", "x/2xb 0x7dfe", "p/x $sp",
                          "delete", "set $next = $rip", "stepi", "stepi", "p $rip > $next", "p/x *(unsigned short*)0x7dfe")
        self.assertRegex(text, r"Breakpoint 1, 0x0*7c00")
        self.assertIn("$1 = 0x7c00", text)
        self.assertRegex(text, r"0x7dfe:\s+0x55\s+0xaa")
        self.assertIn("= 1", text)
        self.assertIn("= 0xaa55", text)

    def test_breakpoints_where_there_is_no_ram_are_refused(self):
        # The BIOS is ROM: only a hardware breakpoint can be there. f000:e05b is where the reset vector jumps to.
        text = self.debug("break *0xfe05b", "continue", "delete", "hbreak *0xfe05b", "continue", "p/x $rip")
        self.assertIn("Cannot insert breakpoint 1", text)
        self.assertIn("SIGTRAP", text)  # its linear address is not $rip: the code segment begins at f0000
        self.assertIn("$1 = 0xe05b", text)

    def test_a_software_breakpoint_is_hit(self):
        # The loader is at its entry: the same code is reached again by a jump that gdb makes.
        text = self.debug("hbreak *0x7c00", "continue", "delete", "stepi", "stepi", "p/x $rip", "break *$rip", "set $rip = 0x7c00", "continue",
                          "p/x $rip", "x/1xb $rip", "delete", "stepi", "p $rip > 0x7c03")
        here = re.search(r"\$1 = (0x\w+)", text).group(1)
        self.assertIn(f"$2 = {here}", text)
        self.assertNotRegex(text, r"0x7c\w\w:\s+0xcc")  # gdb never sees the INT3
        self.assertIn("$3 = 1", text)

    def test_a_watchpoint(self):
        # SeaBIOS counts timer ticks at 46Ch once interrupts run; it clears them before.
        text = self.debug("hbreak *0x7c00", "continue", "delete", "watch *(unsigned int*)0x46c", "continue", "p 1+1")
        self.assertRegex(text, r"Hardware watchpoint 2: ")
        self.assertRegex(text, r"Old value = (\d+)\s+New value = (\d+)")
        old, new = map(int, re.search(r"Old value = (\d+)\s+New value = (\d+)", text).groups())
        self.assertEqual(new, old + 1)

    def test_registers_of_every_kind_can_be_written(self):
        text = self.debug("set $rax = 0x1122334455667788", "p/x $rax", "p/x $eax", "set $xmm3.uint128 = 5", "p $xmm3.v2_int64",
                          "p/x $mxcsr", "p/x $fctrl", "p/x $cr0", "set $fs_base = 0x1234", "p/x $fs_base", "info float")
        for part in ("$1 = 0x1122334455667788", "$2 = 0x55667788", "$3 = {5, 0}", "$4 = 0x1f80", "$5 = 0x40", "$6 = 0x60000010", "0x1234"):
            self.assertIn(part, text)

    def test_threads_and_the_monitor(self):
        text = self.debug("info threads", "monitor info status", "monitor no-such-command", "thread 1", "detach", options=())
        self.assertIn("VM status: paused (debug)" if "debug" in text else "VM status: paused", text)
        self.assertIn("No command is called 'no-such-command'", text)
        self.assertIn("detached", text)

    def test_a_core_of_the_guest(self):
        # What gdb reads in a core file is what it reads in the guest.
        with tempfile.TemporaryDirectory() as folder:
            core = os.path.join(folder, "core")
            live = self.debug("hbreak *0x7c00", "continue", f"monitor dump-guest-memory {core}", "p/x $rsp", "p/x $rip", "x/4xg 0x7c00")
            dead = subprocess.run([GDB, "-nx", "-batch", "-ex", "set architecture i386:x86-64", "-ex", f"core-file {core}", "-ex", "p/x $rsp",
                                   "-ex", "p/x $rip", "-ex", "x/4xg 0x7c00"], capture_output=True, text=True, timeout=60).stdout
            wanted = [line for line in live.splitlines() if re.match(r"\$\d|0x7c[01]0:", line)]
            self.assertEqual(len(wanted), 4, live)
            self.assertEqual([line for line in dead.splitlines() if re.match(r"\$\d|0x7c[01]0:", line)], wanted, dead)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]])
