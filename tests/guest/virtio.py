#!/usr/bin/env python3
"""Debian's own virtio drivers with our devices, under the JIT: several of each, negotiated in every way, in one boot.

usage: virtio.py PROGRAM. Exit status 77 when the guest's files cannot be had."""

import functools
import hashlib
import http.server
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import guest  # noqa: E402

SECONDS = 400
MODULES = ["crc32c_generic", "virtio_pci", "virtio_blk", "virtio_scsi", "sd_mod", "sr_mod", "virtio_rng", "virtio_console", "virtio_balloon", "virtio_net", "virtio_input", "ext4"]
NICS = {
    "eth0": "virtio-net-pci,mac=52:54:00:00:00:10",
    "eth1": "virtio-net-pci,mac=52:54:00:00:00:11,packed=on,mq=on,mrg_rxbuf=off",
    "eth2": "virtio-net-pci,mac=52:54:00:00:00:12,disable-modern=on,ctrl_vq=off",
}
# One disk for each way to talk to it.
DISKS = {
    "plain": "",
    "legacy": "disable-modern=on",
    "modern": "disable-legacy=on,num-queues=2",
    "packed": "disable-legacy=on,packed=on",
    "packed-simple": "packed=on,event_idx=off,indirect_desc=off",
    "simple": "event_idx=off,indirect_desc=off,queue_reset=off",
    "in-order": "disable-legacy=on,in_order=on,packed=on",
    "intx": "vectors=0,queue-size=16",
    "through": "write-cache=off,config-wce=off",
    "blocks": "logical_block_size=4096,physical_block_size=4096",
}
SCRIPT = """
dmesg -n 1
for disk in /sys/block/vd*; do
  name=$(cat $disk/serial)
  mkdir -p /mnt/$name && mount -t ext4 -o discard /dev/${disk##*/} /mnt/$name || echo "cannot mount $name"
  echo "sum $name $(sha256sum < /mnt/$name/seed | cut -d' ' -f1)"
done
n=0; while [ ! -b /dev/sda ] && [ $n -lt 50 ]; do n=$((n + 1)); sleep 0.2; done
mkdir -p /mnt/scsi && mount -t ext4 -o discard /dev/sda /mnt/scsi || echo "cannot mount scsi"
echo "sum scsi $(sha256sum < /mnt/scsi/seed | cut -d' ' -f1)"
mkdir -p /cd && mount -t ext4 -o ro,noload /dev/sr0 /cd || echo "cannot mount cd"
echo "sum cd $(sha256sum < /cd/seed | cut -d' ' -f1)"
umount /cd
for name in $(ls /mnt); do
  (for i in 1 2 3; do cat /mnt/$name/seed > /mnt/$name/copy$i; done
   rm /mnt/$name/copy2; sync; echo 3 > /proc/sys/vm/drop_caches
   cat /mnt/$name/copy1 /mnt/$name/copy3 | sha256sum > /mnt/$name/sums; sync) & jobs="$jobs $!"
done
wait $jobs
for disk in /sys/block/vd*; do
  name=$(cat $disk/serial)
  echo "disk $name queues $(ls $disk/mq | wc -l) cache $(cat $disk/queue/write_cache) discard $(cat $disk/queue/discard_max_bytes)"
  echo "features $name $(cat $disk/device/features)"
  umount /mnt/$name
done
grep -h ^N: /proc/bus/input/devices | grep virtio
echo "rng $(cat /sys/class/misc/hw_random/rng_current)"
dd if=/dev/hwrng bs=512 count=8 2>/dev/null | sha256sum | sed 's/^/random /'
echo "disk scsi cache $(cat /sys/block/sda/queue/write_cache) discard $(cat /sys/block/sda/queue/discard_max_bytes)"
umount /mnt/scsi
ifconfig lo 127.0.0.1
for card in eth0 eth1 eth2; do
  ifconfig $card 10.0.2.15 netmask 255.255.255.0 up
  wget -q -O /tmp/$card http://10.0.2.2:@PORT@/busybox && echo "net $card $(sha256sum < /tmp/$card | cut -d' ' -f1)"
  echo "card $card $(cat /sys/class/net/$card/address) $(cat /sys/class/net/$card/device/features)"
  ifconfig $card down
done
port=/dev/$(basename $(dirname $(grep -l org.menura.test /sys/class/virtio-ports/*/name)))
echo "to the console" > /dev/hvc0
exec 3<>$port
read line <&3 && echo "port said $line"
head -c 200000 /bin/busybox >&3
echo "=END" >&3
read line <&3 && echo "port said $line"
free -m | awk '/Mem:/ { print "memory", ($2 < 360) ? "given" : "kept " $2 }'
echo "MORE" >&3
read line <&3 && echo "port said $line"
free -m | awk '/Mem:/ { print "memory", ($2 > 420) ? "back" : "gone " $2 }'
dmesg | grep -E 'BUG:|Oops|general protection|I/O error|rejected'
echo VIRTIO-OVER
"""


def make_disk(path, seed, block=4096):
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "seed").write_bytes(seed)
        subprocess.run(["mkfs.ext4", "-q", "-b", str(block), "-d", folder, str(path), "24M"], check=True)


def content(image, name):
    return subprocess.run(["debugfs", "-R", f"cat /{name}", str(image)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                          check=True).stdout


def command(program, folder, seeds, port):
    options = []
    make_disk(folder / "scsi", seeds["scsi"])
    options += ["-drive", f"file={folder / 'scsi'},if=none,id=scsi,format=raw,discard=unmap", "-device",
                "virtio-scsi-pci,id=scsi0", "-device", "scsi-hd,bus=scsi0.0,drive=scsi,serial=scsi"]
    make_disk(folder / "cd", seeds["scsi"])
    options += ["-drive", f"file={folder / 'cd'},if=none,id=cd,format=raw,media=cdrom", "-device", "scsi-cd,bus=scsi0.0,drive=cd"]
    for name, properties in DISKS.items():
        make_disk(folder / name, seeds[name])
        options += ["-drive", f"file={folder / name},if=none,id={name},format=raw,discard=unmap", "-device",
                    f"virtio-blk-pci,drive={name},serial={name}" + (f",{properties}" if properties else "")]
    for name, device in NICS.items():
        options += ["-netdev", f"user,id={name}", "-device", f"{device},netdev={name}"]
    kernel = guest.kernel_package()
    initrd = guest.make_initrd(folder / "initrd.gz", SCRIPT.replace("@PORT@", str(port)), modules_of=kernel, modules=MODULES)
    return [program, "-accel", "tcg" if os.environ.get("MENURA_PEER") else "jit", "-m", "512", "-smp", "2", "-nodefaults", "-nographic",
            "-serial", "stdio", "-no-reboot", *options, "-object", "rng-random,id=source,filename=/dev/urandom", "-device", "virtio-rng-pci,rng=source",
            "-device", "virtio-keyboard-pci", "-device", "virtio-tablet-pci",
            "-device", "virtio-serial-pci,id=ser,max_ports=4", "-chardev", f"file,id=con,path={folder / 'console'}",
            "-device", "virtconsole,chardev=con", "-chardev", f"socket,id=agent,path={folder / 'agent'},server=on,wait=off",
            "-device", "virtserialport,chardev=agent,name=org.menura.test,id=port",
            "-device", "virtio-balloon-pci,id=balloon0,free-page-reporting=on",
            "-qmp", f"unix:{folder / 'qmp'},server=on,wait=off", "-kernel", str(guest.vmlinuz(kernel)),
            "-initrd", str(initrd), "-append", "console=ttyS0 menura.script panic=-1"]


def connect(path, deadline):
    while True:
        line = socket.socket(socket.AF_UNIX)
        try:
            line.connect(str(path))
            return line.makefile("rwb", buffering=0)
        except OSError:
            line.close()
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


class Host(threading.Thread):
    """The other end of the serial port, and the one that wants memory back."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.folder, self.problems, self.stats = folder, ["the host's side did not finish"], {}

    def command(self, name, **arguments):
        self.qmp.write(json.dumps({"execute": name, "arguments": arguments}).encode() + b"\n")
        while "return" not in (reply := json.loads(self.qmp.readline())):
            if "error" in reply:
                raise AssertionError(f"{name}: {reply['error']}")
            self.events.append(reply)
        return reply["return"]

    def balloon(self, size):
        self.command("balloon", value=size)
        deadline = time.monotonic() + 120
        while abs(self.command("query-balloon")["actual"] - size) > (1 << 20):
            assert time.monotonic() < deadline, "the guest did not fill its balloon"
            time.sleep(0.2)

    def talk(self):
        deadline = time.monotonic() + 100
        self.qmp, self.events = connect(self.folder / "qmp", deadline), []
        self.qmp.readline()
        self.command("qmp_capabilities")
        agent = connect(self.folder / "agent", deadline)
        agent.write(b"first\n")
        sent = b""
        while not sent.endswith(b"=END\n"):
            sent += agent.read(65536)
        assert sent[:-5] == Path("/bin/busybox").read_bytes()[:200000], "the port lost bytes"
        self.command("qom-set", path="/machine/peripheral/balloon0", property="guest-stats-polling-interval", value=1)
        self.balloon(320 << 20)
        time.sleep(2.5)
        self.stats = self.command("qom-get", path="/machine/peripheral/balloon0", property="guest-stats")["stats"]
        agent.write(b"smaller\n")
        assert agent.readline() == b"MORE\n"
        self.balloon(512 << 20)
        agent.write(b"larger\n")
        names = {event["event"] for event in self.events}
        assert {"BALLOON_CHANGE", "VSERPORT_CHANGE"} <= names, f"only {names} were told"
        assert 0 < self.stats["stat-free-memory"] < self.stats["stat-total-memory"] <= 320 << 20, f"statistics {self.stats}"

    def run(self):
        try:
            self.talk()
            self.problems = []
        except (OSError, AssertionError, KeyError, ValueError) as error:
            self.problems = [f"host: {error!r}"]


def check(folder, seeds, lines):
    wanted = ["VIRTIO-OVER", "port said first", "port said smaller", "port said larger", "memory given", "memory back",
              'N: Name="virtio keyboard"', 'N: Name="virtio tablet"']
    busybox = hashlib.sha256(Path("/bin/busybox").read_bytes()).hexdigest()
    wanted += [f"net {name} {busybox}" for name in NICS]
    for name in seeds:
        wanted.append(f"sum {name} {hashlib.sha256(seeds[name]).hexdigest()}")
    wanted.append(f"sum cd {hashlib.sha256(seeds['scsi']).hexdigest()}")
    missing = [line for line in wanted if line not in lines]
    complaints = [line for line in lines if any(word in line for word in ("BUG:", "Oops", "I/O error", "rejected", "cannot mount"))]
    for name in seeds:
        if subprocess.run(["e2fsck", "-fn", str(folder / name)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT).returncode:
            complaints.append(f"the file system of {name} is damaged")
        for copy in ("copy1", "copy3"):
            if content(folder / name, copy) != seeds[name]:
                complaints.append(f"{name}/{copy} is not what the guest wrote")
        if content(folder / name, "sums").split() != [hashlib.sha256(seeds[name] * 2).hexdigest().encode(), b"-"]:
            complaints.append(f"{name}: the guest read something else than it wrote")
    if (folder / "console").read_bytes() != b"to the console\r\n":
        complaints.append("the console lost bytes")
    return missing + complaints


def main():
    program = os.environ.get("MENURA_PEER") or sys.argv[1]
    if not os.path.exists("/bin/busybox"):
        print("SKIPPED: busybox-static is not installed")
        sys.exit(77)
    try:
        guest.kernel_package()
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"SKIPPED: no guest kernel: {error}")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as folder:
        seeds = {name: os.urandom(1_500_000) for name in [*DISKS, "scsi"]}
        host = Host(Path(folder))
        host.start()
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Files, directory="/bin"))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            done = subprocess.run(command(program, Path(folder), seeds, server.server_port), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            raise SystemExit(f"not done after {SECONDS} s; the serial line so far:\n{(error.stdout or b'').decode(errors='replace')}")
        text = done.stdout.decode(errors="replace").replace("\r", "")
        if os.environ.get("MENURA_LOG"):
            Path(os.environ["MENURA_LOG"]).write_text(text)
        problems = check(Path(folder), seeds, text.splitlines()) + host.problems
    if done.returncode or problems:
        raise SystemExit(f"{text}\nstatus {done.returncode}; {problems}")
    print(f"{len(seeds)} disks, {len(NICS)} network cards, a console, a port and a balloon: all well")


if __name__ == "__main__":
    main()
