#!/usr/bin/env python3
"""What a person sees: SeaBIOS on the standard VGA, as a picture, as text, and through VNC by a client that knows only RFC 6143.

Usage: tests/screen.py PROGRAM
"""

import base64
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zlib

PROGRAM = sys.argv[1]
TIMEOUT = 90


class Machine:
    """A PC that finds nothing to boot, with a QMP monitor."""

    def __init__(self, folder, *arguments):
        self.path = os.path.join(folder, "qmp")
        self.process = subprocess.Popen(
            [PROGRAM, "-accel", "jit", "-m", "32", "-display", "none", "-serial", "none", "-monitor", "none", "-net", "none",
             "-qmp", f"unix:{self.path},server=on,wait=off", *arguments])
        end = time.monotonic() + TIMEOUT
        while not os.path.exists(self.path):
            if self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError("the program did not start")
            time.sleep(0.05)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(TIMEOUT)
        self.socket.connect(self.path)
        self.file = self.socket.makefile("rw")
        self.events = []
        self.file.readline()
        self.run("qmp_capabilities")

    def run(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            message = json.loads(self.file.readline())
            if "event" in message:
                self.events.append(message["event"])
            elif "error" in message:
                raise AssertionError(message["error"]["desc"])
            else:
                return message["return"]

    def wait_for_text(self, text):
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            screen = self.run("x-query-screen").get("text") or []
            if any(text in row for row in screen):
                return screen
            time.sleep(0.2)
        raise AssertionError(f"{text!r} is not on the screen: {screen}")

    def close(self):
        self.run("quit")
        self.process.wait(TIMEOUT)
        self.file.close()
        self.socket.close()


def read_png(path):
    """Width, height and the rows' bytes; filters as PNG's specification has them."""
    with open(path, "rb") as file:
        data = file.read()
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, packed = 8, b""
    while at < len(data):
        length, kind = struct.unpack(">I4s", data[at:at + 8])
        body = data[at + 8:at + 8 + length]
        if kind == b"IHDR":
            width, height = struct.unpack(">II", body[:8])
        if kind == b"IDAT":
            packed += body
        at += 12 + length
    plain, rows, before = zlib.decompress(packed), [], bytes(width * 3)
    for y in range(height):
        kind, line = plain[y * (width * 3 + 1)], bytearray(plain[y * (width * 3 + 1) + 1:(y + 1) * (width * 3 + 1)])
        for i in range(len(line)):
            left = line[i - 3] if i >= 3 else 0
            corner = before[i - 3] if i >= 3 else 0
            if kind == 1:
                line[i] = (line[i] + left) & 255
            elif kind == 2:
                line[i] = (line[i] + before[i]) & 255
            elif kind == 3:
                line[i] = (line[i] + (left + before[i]) // 2) & 255
            elif kind == 4:
                guess = left + before[i] - corner
                distances = [abs(guess - left), abs(guess - before[i]), abs(guess - corner)]
                line[i] = (line[i] + [left, before[i], corner][distances.index(min(distances))]) & 255
        rows.append(bytes(line))
        before = bytes(line)
    return width, height, rows


class Vnc:
    """A client of version 3.8 without a password that takes raw pixels."""

    def __init__(self, connection):
        self.connection = connection
        hello = self.take(12)
        assert hello == b"RFB 003.008\n", hello
        self.send(hello)
        types = self.take(self.take(1)[0])
        assert 1 in types, types
        self.send(b"\1")
        assert self.take(4) == bytes(4)
        self.send(b"\1")
        self.width, self.height = struct.unpack(">HH", self.take(4))
        self.take(16)
        self.name = self.take(struct.unpack(">I", self.take(4))[0]).decode()
        self.send(struct.pack(">BxHi", 2, 1, 0))

    def take(self, size):
        data = b""
        while len(data) < size:
            piece = self.connection.recv(size - len(data))
            assert piece, "the server hung up"
            data += piece
        return data

    def send(self, data):
        self.connection.sendall(data)

    def frame(self):
        """The whole screen as rows of 0x00RRGGBB, little-endian."""
        self.send(struct.pack(">BBHHHH", 3, 0, 0, 0, self.width, self.height))
        rows = [bytearray(self.width * 4) for _ in range(self.height)]
        missing = self.width * self.height
        while missing > 0:
            kind, count = struct.unpack(">BxH", self.take(4))
            assert kind == 0
            for _ in range(count):
                x, y, w, h, encoding = struct.unpack(">HHHHi", self.take(12))
                assert encoding == 0
                for dy in range(h):
                    rows[y + dy][x * 4:(x + w) * 4] = self.take(w * 4)
                missing -= w * h
        return rows

    def key(self, keysym):
        for down in (1, 0):
            self.send(struct.pack(">BBxxI", 4, down, keysym))


class WebSocket:
    """Enough of a browser: the upgrade, masked frames out, frames in."""

    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port), TIMEOUT)
        key = base64.b64encode(bytes(16)).decode()
        self.socket.sendall((f"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {key}\r\n"
                             "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: binary\r\n\r\n").encode())
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.socket.recv(1)
        assert head.startswith(b"HTTP/1.1 101"), head
        self.waiting = b""

    def sendall(self, data):
        assert len(data) < 126
        self.socket.sendall(bytes([0x82, 0x80 | len(data), 1, 2, 3, 4]) + bytes(b ^ (1, 2, 3, 4)[i % 4] for i, b in enumerate(data)))

    def exactly(self, size):
        data = b""
        while len(data) < size:
            piece = self.socket.recv(size - len(data))
            assert piece
            data += piece
        return data

    def recv(self, size):
        if not self.waiting:
            first, length = self.exactly(2)
            assert first == 0x82
            if length == 126:
                length = struct.unpack(">H", self.exactly(2))[0]
            elif length == 127:
                length = struct.unpack(">Q", self.exactly(8))[0]
            self.waiting = self.exactly(length)
        piece, self.waiting = self.waiting[:size], self.waiting[size:]
        return piece

    def close(self):
        self.socket.close()


class ScreenTest(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name

    def machine(self, *arguments):
        machine = Machine(self.folder, *arguments)
        self.addCleanup(machine.process.kill)
        return machine

    def test_seabios_as_text_and_as_picture(self):
        machine = self.machine()
        machine.wait_for_text("SeaBIOS")
        rows = machine.wait_for_text("No bootable device")
        self.assertEqual(len(rows), 25)
        picture = os.path.join(self.folder, "screen.png")
        machine.run("screendump", filename=picture, format="png")
        width, height, pixels = read_png(picture)
        self.assertEqual((width, height), (720, 400))
        # Grey letters on black, where the text has letters and nowhere else.
        lit = [any(any(pixels[y][x * 3:x * 3 + 3]) for y in range(row * 16, row * 16 + 16) for x in range(720)) for row in range(25)]
        cursor = machine.run("x-query-screen")["cursor-row"]
        self.assertEqual([row for row in range(25) if lit[row] and row != cursor], [row for row in range(25) if rows[row] and row != cursor])
        self.assertEqual({pixels[y][x * 3:x * 3 + 3] for y in range(400) for x in range(720)}, {b"\0\0\0", b"\xaa\xaa\xaa"})
        ppm = os.path.join(self.folder, "screen.ppm")
        machine.run("screendump", filename=ppm)
        with open(ppm, "rb") as file:
            self.assertEqual(file.read(), b"P6\n720 400\n255\n" + b"".join(pixels))
        self.assertEqual([mouse["name"] for mouse in machine.run("query-mice")], ["PS/2 mouse"])
        machine.close()

    def test_vnc_shows_what_the_picture_shows_and_types(self):
        machine = self.machine("-vnc", "127.0.0.1:0,to=99,websocket=0", "-boot", "menu=on")
        machine.wait_for_text("boot menu")
        vnc = machine.run("query-vnc")
        self.assertTrue(vnc["enabled"])
        with socket.create_connection(("127.0.0.1", int(vnc["service"])), TIMEOUT) as connection:
            client = Vnc(connection)
            client.key(0xff1b)  # Escape
            machine.wait_for_text("Select boot device")
            self.same_picture(machine, client)
            self.assertEqual(len(machine.run("query-vnc")["clients"]), 1)
        servers = machine.run("query-vnc-servers")
        port = next(int(at["service"]) for at in servers[0]["server"] if at["websocket"])
        browser = WebSocket(port)
        self.same_picture(machine, Vnc(browser))
        browser.close()
        end = time.monotonic() + TIMEOUT
        while machine.events.count("VNC_DISCONNECTED") < 2 and time.monotonic() < end:
            machine.run("query-status")
            time.sleep(0.1)
        for event in ("VNC_CONNECTED", "VNC_INITIALIZED", "VNC_DISCONNECTED"):
            self.assertEqual(machine.events.count(event), 2, event)
        machine.close()

    def same_picture(self, machine, client):
        picture = os.path.join(self.folder, "screen.ppm")
        machine.run("screendump", filename=picture)
        rows = client.frame()
        self.assertEqual((client.width, client.height), (720, 400))
        with open(picture, "rb") as file:
            pixels = file.read()[len(b"P6\n720 400\n255\n"):]
        shown = b"".join(bytes((row[i + 2], row[i + 1], row[i])) for row in rows for i in range(0, len(row), 4))
        self.assertEqual(shown == pixels, True)

    def test_passwords(self):
        machine = self.machine("-vnc", "127.0.0.1:0,to=99,password=on")
        port = int(machine.run("query-vnc")["service"])
        machine.run("set_password", protocol="vnc", password="secret")
        with socket.create_connection(("127.0.0.1", port), TIMEOUT) as connection:
            connection.recv(12, socket.MSG_WAITALL)
            connection.sendall(b"RFB 003.008\n")
            self.assertEqual(connection.recv(2, socket.MSG_WAITALL), b"\1\2")
            connection.sendall(b"\2")
            connection.recv(16, socket.MSG_WAITALL)
            connection.sendall(bytes(16))
            self.assertEqual(connection.recv(4, socket.MSG_WAITALL), b"\0\0\0\1")
        machine.close()


if __name__ == "__main__":
    unittest.main(argv=[sys.argv[0], "-v"])
