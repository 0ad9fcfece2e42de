"""A guest's serial line, read and typed on as a person would; shared by the tests that start real systems."""

import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))


CONTROL = re.compile(r"\r|\x1b\[[0-9;?]*[A-Za-z]|\x1b[()][0A-B]")  # what is for terminals only


def skip(why):
    print(f"SKIPPED: {why}")
    sys.exit(77)


def program():
    """The program under test, or the one named by MENURA_PEER to see what another makes of the same guest."""
    return os.environ.get("MENURA_PEER") or os.path.join(os.environ["MENURA_BIN"], "menura-system-x86_64")


def accelerator():
    return ["-accel", "tcg"] if os.environ.get("MENURA_PEER") else ["-accel", "jit"]


class Guest:
    """A machine without a screen, whose first serial line is ours. Everything ends at the deadline."""

    def __init__(self, options, seconds, accel=None):
        command = [program(), *(accel or accelerator()), "-nodefaults", "-nographic", "-serial", "stdio", *options]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.deadline = time.monotonic() + seconds
        self.seen = ""
        self.read_to = 0  # what expect() has passed
        self.log = open(os.environ["MENURA_LOG"], "w", buffering=1) if os.environ.get("MENURA_LOG") else None
        threading.Thread(target=self.collect, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def collect(self):
        pending = ""
        while chunk := self.process.stdout.read1(65536):
            pending += chunk.decode(errors="replace")
            begun = pending.rfind("\x1b", -8)  # a control sequence may go on in the next chunk
            whole = len(pending) if begun < 0 or CONTROL.match(pending, begun) else begun
            text, pending = CONTROL.sub("", pending[:whole]), pending[whole:]
            self.seen += text
            if self.log:
                self.log.write(text)

    def fail(self, what):
        raise SystemExit(f"{what}; the serial line so far:\n{self.seen[-20000:]}")

    def expect(self, pattern):
        """Waits for the pattern after all that was expected before; returns the match."""
        while True:
            over = self.process.poll() is not None
            match = re.compile(pattern, re.M).search(self.seen, self.read_to)
            if match:
                self.read_to = match.end()
                return match
            if over or time.monotonic() > self.deadline:
                self.fail(f"'{pattern}' did not appear" + (f" before the program ended with {self.process.returncode}" if over else ""))
            time.sleep(0.05)

    def type(self, text):
        self.process.stdin.write(text.encode())
        self.process.stdin.flush()

    def run(self, command):
        """Runs a shell command; returns its output and status. The shell's echo of it does not hold the mark."""
        begin = self.read_to
        self.type(f"{command}; echo =END''MARK=$?\n")
        match = self.expect(r"^=ENDMARK=(\d+)$")
        output = self.seen[begin:match.start()]
        return output.rpartition("MARK=$?\n")[2], int(match[1])

    def ends(self, status=0):
        try:
            ended = self.process.wait(max(1, self.deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.fail("the machine did not end")
        if ended != status:
            self.fail(f"the program ended with status {ended}")
