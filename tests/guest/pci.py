#!/usr/bin/env python3
"""Debian's drivers with what hangs on PCI: devices behind root ports, NVMe disks.

usage: pci.py PROGRAM [CASES...]. Exit status 77 when the guest's files cannot be had."""

import hashlib
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
from console import Guest, skip  # noqa: E402

import guest  # noqa: E402

MIB = 1 << 20
SECONDS = 250


def digest(content):
    return hashlib.sha256(content).hexdigest()


def image(folder, name, size, seed):
    content = random.Random(seed).randbytes(size)
    (folder / name).write_bytes(content)
    return folder / name, content


class Shell:
    """A guest with these modules, at its prompt."""

    def __init__(self, modules, options, kernel_options=""):
        kernel, _ = guest.prepare()
        initrd = guest.make_initrd(guest.FOLDER / f"pci-{os.getpid()}.gz", modules_of=guest.kernel_package(), modules=modules)
        self.system = Guest(["-m", "512", "-kernel", str(kernel), "-initrd", str(initrd),
                             "-append", f"console=ttyS0 panic=-1 {kernel_options}", "-no-reboot", *options], SECONDS)
        self.initrd = initrd

    def __enter__(self):
        self.system.expect("INIT-REACHED")
        self.system.expect(r"root# ")
        self.system.type("stty columns 1000; dmesg -n 1\n")  # or the echo is broken into lines
        self.system.expect(r"root# ")
        return self

    def __exit__(self, *arguments):
        self.system.__exit__(*arguments)
        self.initrd.unlink()

    def run(self, command, expected=None):
        output, status = self.system.run(command)
        output = output.strip()
        if status or (expected is not None and expected not in output):
            self.system.fail(f"'{command}' said '{output}', status {status}, expected '{expected}'")
        return output

    def end(self):
        errors = self.run("dmesg | grep -i 'BUG:\\|Oops:\\|call trace\\|timed out\\|i/o error' || true")
        if errors:
            self.system.fail(f"the kernel's errors: {errors}")
        self.system.type("poweroff -f\n")
        self.system.ends()


def root_port(folder):
    """A disk and a network card, each behind a port of its own, one of them a function of a slot with two."""
    path, content = image(folder, "disk", 4 * MIB, 1)
    with Shell(["virtio_pci", "virtio_blk", "e1000"],
               ["-machine", "q35", "-device", "pcie-root-port,id=rp1,addr=4.0,multifunction=on,slot=1", "-device",
                "pcie-root-port,id=rp2,addr=4.1,slot=2", "-drive", f"file={path},format=raw,if=none,id=d", "-device",
                "virtio-blk-pci,drive=d,bus=rp1", "-netdev", "user,id=n", "-device", "e1000,netdev=n,bus=rp2,mac=52:54:00:00:00:77"]) as shell:
        shell.run("n=0; while [ ! -b /dev/vda ] && [ $n -lt 50 ]; do n=$((n+1)); sleep 0.2; done; sha256sum /dev/vda", digest(content))
        shell.run("cat /sys/class/net/eth0/address", "52:54:00:00:00:77")
        shell.run("readlink -f /sys/class/net/eth0/device", "0000:00:04.1/0000:02:00.0")
        shell.run("readlink -f /sys/block/vda/device", "0000:00:04.0/0000:01:00.0")
        shell.run("ifconfig eth0 10.0.2.15 up && ping -c 2 -W 20 10.0.2.2", "2 packets received")
        shell.end()


def nvme(folder):
    """Two namespaces with blocks of 512 and 4096 bytes: read, written by many at once, trimmed, flushed."""
    disk, content = image(folder, "disk", 16 * MIB, 2)
    second, more = image(folder, "second", 8 * MIB, 3)
    with Shell(["crc32c_generic", "nvme", "ext4"],
               ["-smp", "2", "-drive", f"file={disk},format=raw,if=none,id=d", "-drive",
                f"file={second},format=raw,if=none,id=e,discard=unmap", "-device", "nvme,serial=menura-1,drive=d,id=n", "-device",
                "nvme-ns,drive=e,bus=n,logical_block_size=4096,physical_block_size=4096"]) as shell:
        shell.run("n=0; while [ ! -b /dev/nvme0n2 ] && [ $n -lt 50 ]; do n=$((n+1)); sleep 0.2; done; sha256sum /dev/nvme0n1",
                  digest(content))
        shell.run("sha256sum /dev/nvme0n2", digest(more))
        shell.run("cat /sys/class/nvme/nvme0/serial", "menura-1")
        shell.run("cat /sys/block/nvme0n2/queue/logical_block_size", "4096")
        shell.run("for i in 0 1 2 3; do (dd if=/dev/nvme0n1 of=/dev/nvme0n1 bs=64k count=16 skip=$((i*16)) seek=$((128+i*16)) "
                  "conv=notrunc,fsync 2>/dev/null) & done; wait")
        shell.run("blkdiscard -o 0 -l 1048576 /dev/nvme0n2 && sync && echo 3 > /proc/sys/vm/drop_caches")
        shell.run("dd if=/dev/nvme0n2 bs=1M skip=1 2>/dev/null | sha256sum", digest(more[MIB:]))
        shell.run("grep -c nvme0q /proc/interrupts", "3")
        shell.end()
    expected = bytearray(content)
    expected[8 * MIB:12 * MIB] = expected[:4 * MIB]
    if digest(disk.read_bytes()) != digest(expected):
        raise SystemExit("the image is not what the guest wrote")


class Qmp:
    """A monitor for programs, on a socket that the program opens."""

    def __init__(self, folder):
        self.path = folder / "qmp"
        self.options = ["-qmp", f"unix:{self.path},server=on,wait=off"]
        self.stream = None
        self.events = []

    def read(self):
        return json.loads(self.stream.readline())

    def run(self, command, **arguments):
        if not self.stream:
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(60)
            connection.connect(str(self.path))
            self.stream = connection.makefile("rw")
            self.read()
            self.run("qmp_capabilities")
        self.stream.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.stream.flush()
        while True:
            reply = self.read()
            if "event" not in reply:
                return reply
            self.events.append(reply)

    def must(self, command, **arguments):
        reply = self.run(command, **arguments)
        if "error" in reply:
            raise SystemExit(f"{command} {arguments}: {reply['error']}")
        return reply["return"]

    def await_event(self, name):
        while not any(event["event"] == name for event in self.events):
            self.events.append(self.read())
        event = next(event for event in self.events if event["event"] == name)
        self.events.remove(event)
        return event["data"]


def hotplug(folder):
    """Disks and a card come into root ports and go again, one after the other, while the guest runs."""
    come_and_go(folder, ["-machine", "q35", "-device", "pcie-root-port,id=rp1,slot=1", "-device", "pcie-root-port,id=rp2,slot=2"],
                {"bus": "rp1"}, {"bus": "rp2"}, "root-port")


def acpi_hotplug(folder):
    """The same on a bus without slots of its own, by ACPI."""
    come_and_go(folder, ["-machine", "pc"], {}, {"addr": "9"}, None)


def come_and_go(folder, machine, disk_place, card_place, refusal):
    path, content = image(folder, "disk", 4 * MIB, 4)
    qmp = Qmp(folder)
    with Shell(["virtio_pci", "virtio_blk", "nvme", "e1000"],
               [*machine, "-netdev", "user,id=n", *qmp.options]) as shell:
        refused = qmp.run("device_add", driver="virtio-rng-pci", id="r") if refusal else {}
        if refusal and refusal not in refused.get("error", {}).get("desc", ""):
            raise SystemExit(f"the root bus took a device: {refused}")
        for turn, (driver, disk, options) in enumerate([("virtio-blk-pci", "vda", {}), ("nvme", "nvme0n1", {"serial": "S"}),
                                                         ("virtio-blk-pci", "vda", {})]):
            qmp.must("blockdev-add", **{"node-name": f"d{turn}", "driver": "raw", "file": {"driver": "file", "filename": str(path)}})
            qmp.must("device_add", driver=driver, id="disk", drive=f"d{turn}", **disk_place, **options)
            shell.run(f"n=0; while [ ! -b /dev/{disk} ] && [ $n -lt 100 ]; do n=$((n+1)); sleep 0.2; done; sha256sum /dev/{disk}",
                      digest(content))
            qmp.must("device_del", id="disk")
            if (gone := qmp.await_event("DEVICE_DELETED")) != {"device": "disk", "path": "/machine/peripheral/disk"}:
                raise SystemExit(f"DEVICE_DELETED said {gone}")
            shell.run(f"n=0; while [ -b /dev/{disk} ] && [ $n -lt 100 ]; do n=$((n+1)); sleep 0.2; done; [ ! -b /dev/{disk} ]")
            qmp.must("blockdev-del", **{"node-name": f"d{turn}"})
            print(f"hotplug: {driver} came and went", flush=True)
        qmp.must("device_add", driver="e1000", id="card", netdev="n", mac="52:54:00:00:00:99", **card_place)
        shell.run("n=0; while [ ! -e /sys/class/net/eth0 ] && [ $n -lt 100 ]; do n=$((n+1)); sleep 0.2; done; "
                  "ifconfig eth0 10.0.2.15 up && ping -c 2 -W 20 10.0.2.2", "2 packets received")
        qmp.must("device_del", id="card")
        qmp.await_event("DEVICE_DELETED")
        qmp.must("netdev_del", id="n")
        shell.end()


def screen(folder):
    """A kernel that no firmware started finds a screen, and writes on it before any driver of the card is there."""
    qmp = Qmp(folder)
    picture = folder / "screen.ppm"
    with Shell([], ["-vga", "std", *qmp.options], "console=tty0 console=ttyS0") as shell:
        shell.run("cat /proc/fb", "0 VESA VGA")
        qmp.must("screendump", filename=str(picture))
        header, size, depth, pixels = picture.read_bytes().split(b"\n", 3)
        lit = sum(1 for at in range(0, len(pixels), 3) if pixels[at] or pixels[at + 1] or pixels[at + 2])
        if (header, size, depth) != (b"P6", b"1024 768", b"255") or lit < 5000:
            raise SystemExit(f"the screen is {size}, {lit} pixels are lit")
        shell.end()


def tables(_):
    """What -smbios, -acpitable, -numa hmat-lb and vmgenid say, as Debian's kernel reads it."""
    with Shell([], ["-smbios", "type=1,manufacturer=Maker,product=Thing,serial=N-77", "-smbios", "type=2,product=Board,asset=Tag",
                    "-smbios", "type=11,value=first,value=second", "-acpitable", f"sig=OEM9,data={__file__}", "-device",
                    "vmgenid,guid=00112233-4455-6677-8899-aabbccddeeff", "-machine", "hmat=on", "-smp", "2", "-object",
                    "memory-backend-ram,id=a,size=256M", "-object", "memory-backend-ram,id=b,size=256M", "-numa",
                    "node,nodeid=0,cpus=0-1,memdev=a", "-numa", "node,nodeid=1,memdev=b,initiator=0", "-numa",
                    "hmat-lb,initiator=0,target=0,hierarchy=memory,data-type=access-latency,latency=5", "-numa",
                    "hmat-lb,initiator=0,target=1,hierarchy=memory,data-type=access-latency,latency=20", "-numa",
                    "hmat-lb,initiator=0,target=1,hierarchy=memory,data-type=access-bandwidth,bandwidth=200M"]) as shell:
        for name, value in [("sys_vendor", "Maker"), ("product_name", "Thing"), ("product_serial", "N-77"), ("board_name", "Board"),
                            ("board_asset_tag", "Tag")]:
            shell.run(f"cat /sys/class/dmi/id/{name}", value)
        shell.run("strings /sys/firmware/dmi/entries/11-0/raw | tail -2", "second")
        shell.run("head -c 4 /sys/firmware/acpi/tables/OEM9 && echo", "OEM9")
        shell.run("tail -c +37 /sys/firmware/acpi/tables/OEM9 | sha256sum", digest(Path(__file__).read_bytes()))
        shell.run("cat /sys/devices/system/node/node1/access0/initiators/read_latency", "20")
        shell.run("cat /sys/devices/system/node/node1/access0/initiators/write_bandwidth", "200")
        shell.run("cat /sys/bus/acpi/devices/MNRA0001:00/hid", "MNRA0001")
        shell.end()


CASES = {"root_port": root_port, "nvme": nvme, "hotplug": hotplug, "acpi_hotplug": acpi_hotplug, "screen": screen, "tables": tables}


def main():
    os.environ["MENURA_BIN"] = os.path.dirname(os.path.abspath(sys.argv[1]))
    try:
        guest.prepare()
    except (subprocess.CalledProcessError, OSError) as error:
        skip(f"no guest: {error}")
    for name in sys.argv[2:] or CASES:
        with tempfile.TemporaryDirectory() as folder:
            CASES[name](Path(folder))
        print(f"{name}: passed", flush=True)


if __name__ == "__main__":
    main()
