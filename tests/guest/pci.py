#!/usr/bin/env python3
"""Debian's drivers with what hangs on PCI: devices behind root ports, NVMe disks.

usage: pci.py PROGRAM [CASES...]. Exit status 77 when the guest's files cannot be had."""

import hashlib
import os
import random
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


CASES = {"root_port": root_port, "nvme": nvme}


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
