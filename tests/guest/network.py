#!/usr/bin/env python3
"""Debian's own drivers with our network cards, under the JIT: several models in one boot, each on a user network of its own.

Each gets its address by DHCP, fetches a file from the host and sends one there, serves one through a forwarded port, and sees its
cable unplugged and plugged, if it can. usage: network.py PROGRAM [MODEL...]. Exit status 77 when the guest's files cannot be had."""

import hashlib
import http.server
import json
import os
import random
import socket
import socketserver
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import guest  # noqa: E402

SECONDS = 400
# Models and the modules of their drivers.
MODELS = {"e1000": ["e1000"], "rtl8139": ["8139too"], "ne2k_pci": ["ne2k_pci"], "pcnet": ["pcnet32"], "ne2k_isa": ["ne"]}
# Unless others are named. Only Debian's kernel for i386 knows ISA cards: ne2k_isa is for a boot of its own.
# Not yet ne2k_pci: beside an rtl8139 it brings the transfer to a stop.
USUAL = ["e1000", "rtl8139", "pcnet"]
MEGABYTES = 1
SCRIPT = """
dmesg -n 1
mkdir -p /srv
cat > /dhcp <<'END'
#!/bin/sh
[ "$1" = bound ] && ip addr add $ip/24 dev $interface && echo "bound $interface $ip $router $dns"
END
chmod +x /dhcp
ip link set lo up
[ -f /modules/ne.ko ] && insmod /modules/ne.ko io=0x300 irq=5
for path in /sys/class/net/*; do
  name=${path##*/}
  [ $name = lo ] && continue
  mac=$(cat $path/address); net=$((0x${mac##*:}))
  ip link set $name up
  udhcpc -i $name -s /dhcp -q -n -t 20 -T 2 >/tmp/dhcp.$name 2>&1 || echo "no address for $name"
  grep bound /tmp/dhcp.$name
  driver=$(readlink $path/device/driver); echo "driver $net ${driver##*/} $name after $(cut -d' ' -f1 /proc/uptime) s"
  wget -q -O /srv/$net http://10.0.$net.2:PORT/file || echo "fetching by $name failed"
  echo "sum $net $(sha256sum < /srv/$net | cut -d' ' -f1)"
  echo "answer $net $(nc 10.0.$net.2 SINK < /srv/$net)"
done
httpd -p 80 -h /srv
echo SERVING
read line < /dev/ttyS0
for path in /sys/class/net/*; do
  [ ${path##*/} = lo ] && continue
  net=$((0x$(cut -d: -f6 $path/address)))
  driver=$(readlink $path/device/driver)
  case ${driver##*/} in ne*) continue;; esac  # a NE2000 does not know
  for wanted in 0 1; do
    echo "UNPLUG $net $wanted"
    n=0; while [ "$(cat $path/carrier)" != $wanted ] && [ $n -lt 300 ]; do n=$((n + 1)); sleep 0.1; done
    echo "carrier $net $(cat $path/carrier)"
  done
done
dmesg | grep -E 'BUG:|Oops|general protection|WATCHDOG|Tx Unit Hang|transmit queue .* timed out'
echo NETWORK-OVER
"""


class Server(http.server.BaseHTTPRequestHandler):
    content = b""

    def do_GET(self):

        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content)

    def log_message(self, *_):
        pass


class Sink(socketserver.StreamRequestHandler):
    """Answers with the checksum of all that comes."""

    def handle(self):
        self.wfile.write(hashlib.sha256(self.rfile.read()).hexdigest().encode() + b"\n")


class Monitor:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        for _ in range(100):
            try:
                self.socket.connect(str(path))
                break
            except OSError:
                time.sleep(0.1)
        self.lines = self.socket.makefile("r")
        self.lines.readline()
        self.run("qmp_capabilities")

    def run(self, command, **arguments):
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
        while "event" in (reply := json.loads(self.lines.readline())):
            pass
        if "error" in reply:
            raise SystemExit(f"{command}: {reply['error']}")
        return reply["return"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(program, models, folder, port, sink):
    flavour, architecture = ("686", "i386") if "ne2k_isa" in models else ("amd64", "amd64")
    kernel = guest.kernel_package(flavour, architecture)
    busybox = "/bin/busybox" if architecture == "amd64" else guest.package("busybox-static", architecture) / "bin/busybox"
    modules = list(dict.fromkeys(module for model in models for module in MODELS[model]))
    initrd = guest.make_initrd(folder / "initrd.gz", SCRIPT.replace("PORT", str(port)).replace("SINK", str(sink)), busybox, kernel, modules)
    options, forwards = [], {}
    for net, model in enumerate(models, 10):
        forwards[net] = free_port()
        options += ["-netdev", f"user,id=n{net},net=10.0.{net}.0/24,hostfwd=tcp:127.0.0.1:{forwards[net]}-:80",
                    "-device", f"{model},id=card{net},netdev=n{net},mac=52:54:00:00:00:{net:02x}" + (",irq=5" if model == "ne2k_isa" else "")]
    if os.environ.get("MENURA_CAPTURE"):
        options += [word for net in forwards for word in ("-object", f"filter-dump,id=f{net},netdev=n{net},file=/tmp/menura-{net}.pcap")]
    command = [program, "-accel", "tcg" if os.environ.get("MENURA_PEER") else "jit", "-m", "512", "-nodefaults", "-nographic", "-serial",
               "stdio", "-no-reboot", "-qmp", f"unix:{folder}/qmp,server=on,wait=off", *options, "-kernel", str(guest.vmlinuz(kernel)),
               "-initrd", str(initrd), "-append", "console=ttyS0 menura.script panic=-1 net.ifnames=0"]
    return command, forwards


def expect_served(forwards, content):
    for net, port in forwards.items():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/{net}", timeout=60) as reply:
            if reply.read() != content:
                raise SystemExit(f"network {net}: what came through the forwarded port is not what was sent")
        print(f"network {net}: served {len(content)} bytes through a forwarded port")


def drive(process, monitor, forwards, content):
    """Answers what the guest's script asks for; returns its lines."""
    lines = []
    for raw in process.stdout:
        line = raw.decode(errors="replace").strip()
        lines.append(line)
        if line == "SERVING":
            expect_served(forwards, content)
            process.stdin.write(b"go on\n")
            process.stdin.flush()
        elif line.startswith("UNPLUG"):
            _, net, wanted = line.split()
            time.sleep(0.5)
            monitor.run("set_link", name=f"card{net}" if wanted == "0" else f"n{net}", up=wanted == "1")
        elif line.startswith("bound"):
            print(line)
    return lines


def main():
    program = sys.argv[1]
    models = sys.argv[2:] or USUAL
    try:
        guest.prepare()
        guest.kernel_package()
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"SKIPPED: no guest kernel: {error}")
        sys.exit(77)
    content = random.Random(1).randbytes(MEGABYTES << 20)
    Server.content = content
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    sink = socketserver.ThreadingTCPServer(("127.0.0.1", 0), Sink)
    for each in (server, sink):
        threading.Thread(target=each.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder:
        command, forwards = start(program, models, Path(folder), server.server_port, sink.server_address[1])
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        timer = threading.Timer(SECONDS, process.kill)
        timer.start()
        try:
            lines = drive(process, Monitor(Path(folder) / "qmp"), forwards, content)
            status = process.wait()
        finally:
            timer.cancel()
            process.kill()
    digest = hashlib.sha256(content).hexdigest()
    expected = ["NETWORK-OVER", "SCRIPT-DONE"]
    for net, model in zip(forwards, models):
        expected += [f"sum {net} {digest}", f"answer {net} {digest}"]
        expected += [f"carrier {net} {up}" for up in (0, 1) if not model.startswith("ne2k")]
    missing = [line for line in expected if line not in lines]
    oops = [line for line in lines if any(word in line for word in ("BUG:", "Oops", "general protection", "Hang", "timed out"))]
    if status or missing or oops:
        raise SystemExit("\n".join(lines) + f"\nstatus {status}, missing {missing}, kernel complaints {oops}")
    for line in lines:
        if line.startswith("driver"):
            print(line)


if __name__ == "__main__":
    main()
