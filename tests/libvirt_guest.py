#!/usr/bin/env python3
"""Debian's libvirt probes our program, then defines, starts, suspends, resumes and ends a guest under the JIT.

Usage: tests/libvirt_guest.py PROGRAM

Uses libvirt's embedded driver: no daemon, everything in a temporary folder.
"""

import os
import sys
import tempfile
import threading
import time
import unittest

PROGRAM = os.path.abspath(sys.argv[1])
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tools"))

try:
    import libvirt
except ImportError:
    libvirt = None

DOMAIN = """
<domain type='qemu'>
  <name>guest</name>
  <uuid>aaaaaaaa-bbbb-cccc-dddd-eeeeeeeeeeee</uuid>
  <memory unit='MiB'>192</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64' machine='pc'>hvm</type><kernel>{kernel}</kernel><initrd>{initrd}</initrd><cmdline>{append}</cmdline></os>
  <features><acpi/></features>
  <clock offset='utc'/>
  <devices>
    <emulator>{program}</emulator>
    <controller type='usb' model='none'/>
    <memballoon model='none'/>
    <serial type='file'><source path='{log}'/><target port='0'/></serial>
  </devices>
</domain>
"""


@unittest.skipUnless(libvirt, "python3-libvirt is not installed")
class Libvirt(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        libvirt.registerErrorHandler(lambda *_: None, None)
        libvirt.virEventRegisterDefaultImpl()
        cls.running = True
        cls.loop = threading.Thread(target=cls.turn, daemon=True)
        cls.loop.start()
        cls.folder = tempfile.TemporaryDirectory(prefix="menura-libvirt-")
        etc = os.path.join(cls.folder.name, "etc")
        os.makedirs(etc)
        with open(os.path.join(etc, "qemu.conf"), "w", encoding="utf8") as file:
            file.write('user = "root"\ngroup = "root"\ndynamic_ownership = 0\nsecurity_driver = "none"\ncgroup_controllers = []\n'
                       'namespaces = []\nstdio_handler = "file"\nremember_owner = 0\n')
        cls.connection = libvirt.open(f"qemu:///embed?root={cls.folder.name}")

    @classmethod
    def turn(cls):
        while cls.running:
            libvirt.virEventRunDefaultImpl()

    @classmethod
    def tearDownClass(cls):
        cls.connection.close()
        cls.running = False
        cls.folder.cleanup()

    def test_a_probe_a_domain_and_its_life(self):
        capabilities = self.connection.getDomainCapabilities(PROGRAM, "x86_64", None, "qemu", 0)
        self.assertIn("<machine>pc-i440fx-8.2</machine>", capabilities)
        self.assertIn("<domain>qemu</domain>", capabilities)
        import guest
        kernel, initrd = guest.prepare()
        log = os.path.join(self.folder.name, "serial.log")
        domain = self.connection.defineXML(DOMAIN.format(kernel=kernel, initrd=initrd, append="console=ttyS0",
                                                         program=PROGRAM, log=log))
        self.assertIn("machine='pc-i440fx-8.2'", domain.XMLDesc())
        domain.create()
        try:
            self.assertTrue(domain.isActive())
            self.wait(lambda: "Linux version" in self.read(log), 240)
            domain.suspend()
            self.assertEqual(domain.state()[0], libvirt.VIR_DOMAIN_PAUSED)
            before = self.read(log)
            time.sleep(0.5)
            self.assertEqual(self.read(log), before)
            domain.resume()
            self.assertEqual(domain.state()[0], libvirt.VIR_DOMAIN_RUNNING)
            self.assertEqual(len(domain.vcpus()[0]), 1)
            domain.reset()
            self.wait(lambda: self.read(log).count("Linux version") > 1, 240)
        finally:
            domain.destroy()
        self.assertFalse(domain.isActive())
        domain.undefine()

    @staticmethod
    def read(path):
        with open(path, "rb") as file:
            return file.read().decode(errors="replace")

    def wait(self, condition, seconds):
        deadline = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.2)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]])
