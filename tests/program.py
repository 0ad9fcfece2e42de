#!/usr/bin/env python3
"""The real program: its exit status and messages, a QMP conversation over a UNIX socket, signals, -daemonize, a BIOS boot under KVM.

Usage: tests/program.py PROGRAM [BOOT_SECTOR]
"""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest

PROGRAM = sys.argv[1]
BOOT_SECTOR = sys.argv[2] if len(sys.argv) > 2 else None
QUIET = ["-accel", "qtest", "-display", "none", "-nodefaults"]


def run(*arguments, timeout=30):
    return subprocess.run([PROGRAM, *arguments], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=timeout)


class Qmp:
    """A client of one monitor; events are kept aside."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(30)
        deadline = time.monotonic() + 30
        while True:
            try:
                self.socket.connect(path)
                break
            except (FileNotFoundError, ConnectionRefusedError):
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        self.stream = self.socket.makefile("r")
        self.events = []
        self.greeting = self.read()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stream.close()
        self.socket.close()

    def read(self):
        return json.loads(self.stream.readline())

    def ask(self, command, **arguments):
        request = {"execute": command, "id": command}
        if arguments:
            request["arguments"] = arguments
        self.socket.sendall(json.dumps(request).encode())
        while True:
            message = self.read()
            if "event" not in message:
                assert message.get("id") == command, message
                return message
            self.events.append(message)

    def wait_event(self, name):
        while not any(e["event"] == name for e in self.events):
            self.events.append(self.read())
        return next(e for e in self.events if e["event"] == name)


class Conduct(unittest.TestCase):
    def test_help_and_version_go_to_stdout(self):
        for arguments, part in ((["-version"], "QEMU emulator version 8.2.0 (menura"), (["-help"], "-machine"),
                                (["-device", "help"], 'name "isa-debugcon"'), (["-M", "help"], "pc-i440fx-8.2")):
            result = run(*arguments)
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            self.assertIn(part, result.stdout)

    def test_errors_are_one_line_and_status_1(self):
        for arguments, part in ((["-smpp", "2"], "did you mean '-smp'"), (["-accel", "qtest", "-hda", "/none/such"], "/none/such"),
                                (["-m", "x"], "-m"), (["-accel", "hvf"], "macOS")):
            result = run(*arguments)
            self.assertEqual((result.returncode, result.stdout), (1, ""), arguments)
            self.assertRegex(result.stderr, r"\Amenura-system-x86_64: [^\n]*\n\Z")
            self.assertIn(part, result.stderr)
        self.assertRegex(run("-msg", "timestamp=on", "-accel", "qtest", "-hda", "/none").stderr, r"^\d{4}-\d\d-\d\dT")

    def test_signals_end_it_with_status_0(self):
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            with tempfile.TemporaryDirectory() as folder:
                path = os.path.join(folder, "qmp")
                with subprocess.Popen([PROGRAM, *QUIET, "-qmp", f"unix:{path},server,nowait"]) as process:
                    with Qmp(path) as qmp:
                        qmp.ask("qmp_capabilities")
                        process.send_signal(number)
                        self.assertEqual(qmp.wait_event("SHUTDOWN")["data"], {"guest": False, "reason": "host-signal"})
                    self.assertEqual(process.wait(30), 0)

    def test_a_wait_for_a_client_can_be_interrupted(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "serial")
            with subprocess.Popen([PROGRAM, *QUIET, "-serial", f"unix:{path},server"]) as process:
                while not os.path.exists(path):
                    time.sleep(0.02)
                process.terminate()
                self.assertEqual(process.wait(30), -signal.SIGTERM)

    def test_daemonize_returns_when_the_monitor_listens(self):
        with tempfile.TemporaryDirectory() as folder:
            path, pid = os.path.join(folder, "qmp"), os.path.join(folder, "pid")
            result = run(*QUIET, "-S", "-qmp", f"unix:{path},server=on,wait=off", "-pidfile", pid, "-daemonize")
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            with open(pid) as file:
                number = int(file.read())
            with Qmp(path) as qmp:
                qmp.ask("qmp_capabilities")
                self.assertEqual(qmp.ask("query-status")["return"]["status"], "prelaunch")
                self.assertEqual(os.readlink(f"/proc/{number}/fd/2"), "/dev/null")
                self.assertEqual(qmp.ask("quit")["return"], {})
                qmp.wait_event("SHUTDOWN")
                self.assertEqual(qmp.stream.readline(), "")
            self.assertEqual(run(*QUIET, "-daemonize", "-hda", "/none/such").returncode, 1)


class Options(unittest.TestCase):
    def test_a_machine_with_nothing_tells_what_there_is(self):
        # As libvirt's probe starts it.
        with tempfile.TemporaryDirectory() as folder:
            path, pid = os.path.join(folder, "qmp"), os.path.join(folder, "pid")
            result = run("-S", "-no-user-config", "-nodefaults", "-nographic", "-machine", "none,accel=kvm:tcg", "-qmp",
                         f"unix:{path},server=on,wait=off", "-pidfile", pid, "-daemonize")
            self.assertEqual((result.returncode, result.stderr), (0, ""))
            with Qmp(path) as qmp:
                qmp.ask("qmp_capabilities")
                self.assertEqual(qmp.ask("query-cpus-fast")["return"], [])
                self.assertIn("pc", [m.get("alias") for m in qmp.ask("query-machines")["return"]])
                self.assertEqual(qmp.ask("query-memory-size-summary")["return"], {"base-memory": 0})
                for line in ("info registers", "info mem", "x 0", "cpu 0", "info qom-tree", "info pic"):
                    qmp.ask("human-monitor-command", **{"command-line": line})
                qmp.ask("quit")

    def test_an_inherited_descriptor_is_a_file(self):
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "qmp")
            with open(os.path.join(folder, "serial"), "wb") as file:
                arguments = [*QUIET, "-add-fd", f"set=3,fd={file.fileno()},opaque=serial", "-chardev", "file,id=f,path=/dev/fdset/3,append=on",
                             "-device", "isa-serial,chardev=f", "-qmp", f"unix:{path},server=on,wait=off"]
                with subprocess.Popen([PROGRAM, *arguments], pass_fds=[file.fileno()]) as process:
                    with Qmp(path) as qmp:
                        qmp.ask("qmp_capabilities")
                        self.assertEqual(qmp.ask("query-fdsets")["return"],
                                         [{"fdset-id": 3, "fds": [{"fd": file.fileno(), "opaque": "serial"}]}])
                        qmp.ask("human-monitor-command", **{"command-line": "o /b 0x3f8 0x41"})
                        qmp.ask("quit")
                    self.assertEqual(process.wait(30), 0)
                with open(file.name, "rb") as written:
                    self.assertEqual(written.read(), b"A")
            self.assertIn("99", run(*QUIET, "-add-fd", "set=1,fd=99").stderr)

    def test_objects(self):
        memory = ["-m", "64", "-machine", "pc,memory-backend=ram0"]
        self.assertIn("no memory object 'ram0'", run(*QUIET, *memory).stderr)
        self.assertIn("the memory objects have 32 MiB", run(*QUIET, *memory, "-object", "memory-backend-ram,id=ram0,size=32M").stderr)
        self.assertIn("did you mean 'secret'", run(*QUIET, "-object", "secrt,id=s").stderr)
        self.assertIn("either data or file", run(*QUIET, "-object", "secret,id=s").stderr)
        self.assertIn("data=<str>", run("-object", "secret,help").stdout)
        with tempfile.TemporaryDirectory() as folder:
            path, key = os.path.join(folder, "qmp"), os.path.join(folder, "key")
            with open(key, "wb") as file:
                file.write(os.urandom(32))
            arguments = [*QUIET, *memory, "-object", '{"qom-type":"memory-backend-ram","id":"ram0","size":67108864}', "-object",
                         json.dumps({"qom-type": "secret", "id": "masterKey0", "format": "raw", "file": key}),
                         "-qmp", f"unix:{path},server=on,wait=off"]
            with subprocess.Popen([PROGRAM, *arguments]) as process:
                with Qmp(path) as qmp:
                    qmp.ask("qmp_capabilities")
                    self.assertEqual({c["name"] for c in qmp.ask("qom-list", path="/objects")["return"]}, {"type", "masterKey0", "ram0"})
                    self.assertEqual(qmp.ask("query-memdev")["return"][0]["id"], "ram0")
                    self.assertIn("error", qmp.ask("object-del", id="ram0"))
                    self.assertEqual(qmp.ask("object-del", id="masterKey0")["return"], {})
                    qmp.ask("quit")
                self.assertEqual(process.wait(30), 0)

    def test_giving_up_rights(self):
        if os.geteuid() != 0:
            self.skipTest("only root has rights to give up")
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "qmp")
            os.chmod(folder, 0o755)
            arguments = [*QUIET, "-runas", "nobody", "-sandbox", "on,elevateprivileges=deny,spawn=deny", "-qmp", f"unix:{path},server=on,wait=off"]
            with subprocess.Popen([PROGRAM, *arguments]) as process:
                with Qmp(path) as qmp:
                    qmp.ask("qmp_capabilities")
                    qmp.ask("cont")
                    with open(f"/proc/{process.pid}/status", encoding="utf8") as file:
                        status = dict(line.rstrip("\n").split(":\t", 1) for line in file if ":\t" in line)
                    self.assertNotEqual(status["Uid"].split()[0], "0")
                    self.assertEqual(status["Seccomp"], "2")
                    qmp.ask("quit")
                self.assertEqual(process.wait(30), 0)
        self.assertIn("no user 'nobdy'", run(*QUIET, "-runas", "nobdy").stderr)


class Conversation(unittest.TestCase):
    def test_two_monitors_see_the_same_machine(self):
        with tempfile.TemporaryDirectory() as folder:
            paths = [os.path.join(folder, name) for name in ("a", "b")]
            arguments = [*QUIET, "-S", "-name", "guest=box", "-smp", "2"]
            for path in paths:
                arguments += ["-qmp", f"unix:{path},server=on,wait=off"]
            with subprocess.Popen([PROGRAM, *arguments]) as process:
                with Qmp(paths[0]) as first, Qmp(paths[1]) as second:
                    self.assertEqual(first.greeting["QMP"]["version"]["qemu"]["major"], 8)
                    self.assertEqual(first.ask("query-status")["error"]["class"], "CommandNotFound")
                    first.ask("qmp_capabilities")
                    second.ask("qmp_capabilities")
                    self.assertEqual(first.ask("query-name")["return"], {"name": "box"})
                    for cpu in first.ask("query-cpus-fast")["return"]:
                        self.assertTrue(os.path.isdir(f"/proc/{process.pid}/task/{cpu['thread-id']}"))
                    self.assertEqual(first.ask("cont")["return"], {})
                    self.assertIn("timestamp", second.wait_event("RESUME"))
                    self.assertTrue(second.ask("query-status")["return"]["running"])
                    second.ask("stop")
                    first.wait_event("STOP")
                    text = first.ask("human-monitor-command", **{"command-line": "info mtree -f"})["return"]
                    self.assertIn("pc.ram", text)
                    self.assertEqual(first.ask("no-such-command")["error"]["class"], "CommandNotFound")
                    self.assertEqual(second.ask("quit")["return"], {})
                self.assertEqual(process.wait(30), 0)


    def test_a_program_may_ask_all_at_once_over_stdio(self):
        # As libguestfs probes: a machine of the defaults, every accelerator allowed, input that ends at once.
        commands = "".join(json.dumps({"execute": c}) + "\n" for c in ("qmp_capabilities", "query-kvm", "quit"))
        result = subprocess.run([PROGRAM, "-display", "none", "-machine", "accel=kvm:tcg", "-qmp", "stdio"],
                                input=commands, capture_output=True, text=True, timeout=60)
        replies = [json.loads(line) for line in result.stdout.splitlines()]
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("enabled", next(r["return"] for r in replies if r.get("return")))


class Boot(unittest.TestCase):
    def test_seabios_boots_our_disk_under_kvm(self):
        if not BOOT_SECTOR or not os.access("/dev/kvm", os.R_OK | os.W_OK):
            self.skipTest("/dev/kvm is not there, or not for us")
        with tempfile.TemporaryDirectory() as folder:
            disk = os.path.join(folder, "disk.img")
            with open(BOOT_SECTOR, "rb") as source, open(disk, "wb") as image:
                image.write(source.read())
                image.truncate(1 << 20)
            result = run("-accel", "kvm", "-nographic", "-m", "64", "-drive", f"file={disk},format=raw", timeout=120)
            self.assertEqual(result.returncode, 0, result.stderr)
            self.assertIn("SeaBIOS", result.stdout)
            self.assertIn("menura: timer ticks", result.stdout)


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0]])
