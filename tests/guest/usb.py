#!/usr/bin/env python3
"""Debian's USB drivers with our controllers: sticks at the root and behind a hub are formatted, written and read again; a keyboard
and a tablet are typed and moved. Then SeaBIOS boots from a stick. usage: usb.py PROGRAM BOOT-SECTOR [CONTROLLER...]. Exit status
77 when the guest's files cannot be had."""

import hashlib
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
import guest  # noqa: E402

SECONDS = 240
# By name: properties, the speed of a stick at the root, whether it takes devices of USB 1.
CONTROLLERS = {"qemu-xhci": ("", "5000", True), "nec-usb-xhci": (",p2=8,p3=8", "5000", True), "piix3-usb-uhci": ("", "12", True)}
MODULES = ["xhci_pci", "uhci_hcd", "ehci_pci", "usb_storage", "sd_mod", "ext4", "crc32c_generic", "usbhid", "hid_generic", "evdev"]
SCRIPT = """
dmesg -n 1
n=0; while [ $(ls -d /sys/block/sd* 2>/dev/null | wc -l) -lt @STICKS@ ] && [ $n -lt 200 ]; do n=$((n + 1)); sleep 0.1; done
mkdir -p /mnt
for disk in /sys/block/sd*; do
  name=${disk##*/}
  path=$(readlink -f $disk); while [ ! -f $path/speed ]; do path=${path%/*}; done
  serial=$(cat $path/serial)
  echo "stick $serial speed $(cat $path/speed) removable $(cat $disk/removable) size $(cat $disk/size)"
  mke2fs -F /dev/$name > /dev/null 2>&1 && mount -t ext2 /dev/$name /mnt || echo "no file system on $name"
  dd if=/dev/urandom of=/mnt/file bs=4096 count=500 2>/dev/null
  sum=$(sha256sum < /mnt/file | cut -d' ' -f1)
  umount /mnt
  echo 3 > /proc/sys/vm/drop_caches
  mount -t ext2 /dev/$name /mnt
  echo "sum $serial $sum $(sha256sum < /mnt/file | cut -d' ' -f1)"
  umount /mnt
done
grep ^N: /proc/bus/input/devices | grep -o 'menura USB [a-z]*'
for kind in keyboard tablet; do
  event=$(grep -A 5 "menura USB $kind" /proc/bus/input/devices | grep -o 'event[0-9]*' | head -1)
  (od -A n -v -t u2 -w24 -N @BYTES@ /dev/input/$event | awk -v kind=$kind '{ print "input", kind, $9, $10, $11 }') &
done
sleep 1
echo TYPE
wait
dmesg | grep -E 'BUG:|Oops|general protection|I/O error|reset .*speed|ERROR|HC died'
echo USB-OVER
"""
# Two keys pressed and released, with scan codes and reports' ends: what the event device tells.
EVENTS = 6


def command(program, controller, folder):
    properties, _, _ = CONTROLLERS[controller]
    options = ["-device", f"{controller},id=usb{properties}", "-device", "usb-hub,bus=usb.0,port=2"]
    for name, port in (("root", "1"), ("behind", "2.1")):
        subprocess.run(["truncate", "-s", "8M", str(folder / name)], check=True)
        options += ["-drive", f"file={folder / name},if=none,id={name},format=raw", "-device",
                    f"usb-storage,bus=usb.0,port={port},drive={name},serial={name},removable={'on' if name == 'root' else 'off'}"]
    options += ["-device", "usb-kbd,bus=usb.0,port=2.2", "-device", "usb-tablet,bus=usb.0,port=2.3"]
    kernel = guest.kernel_package()
    script = SCRIPT.replace("@STICKS@", "2").replace("@BYTES@", str(24 * EVENTS))
    initrd = guest.make_initrd(folder / "initrd.gz", script, modules_of=kernel, modules=MODULES)
    return [program, "-accel", "tcg" if os.environ.get("MENURA_PEER") else "jit", "-m", "512", "-nodefaults", "-nographic", "-serial",
            "stdio", "-no-reboot", "-qmp", f"unix:{folder}/qmp,server=on,wait=off", *options, "-kernel", str(guest.vmlinuz(kernel)),
            "-initrd", str(initrd), "-append", "console=ttyS0 menura.script panic=-1"]


def type_and_move(path):
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(str(path))
        stream = line.makefile("rw", buffering=1)
        stream.readline()
        events = [{"type": "abs", "data": {"axis": axis, "value": value}} for axis, value in (("x", 4096), ("y", 8192))]
        for name, arguments in (("qmp_capabilities", {}), ("send-key", {"keys": [{"type": "qcode", "data": "a"}]}),
                                ("input-send-event", {"events": events}),
                                ("input-send-event", {"events": [{"type": "btn", "data": {"button": "left", "down": True}}]})):
            stream.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
            while "return" not in (reply := json.loads(stream.readline())):
                assert "error" not in reply, f"{name}: {reply}"
            time.sleep(0.3)


def run(program, controller, folder):
    process = subprocess.Popen(command(program, controller, folder), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT, text=True, errors="replace")
    timer = threading.Timer(SECONDS, process.kill)
    timer.start()
    lines = []
    try:
        for line in process.stdout:
            lines.append(line.strip())
            if lines[-1] == "TYPE":
                try:
                    type_and_move(folder / "qmp")
                except (OSError, AssertionError, ValueError) as error:
                    lines.append(f"host: {error!r}")
        status = process.wait()
    finally:
        timer.cancel()
        process.kill()
    return status, lines


def sums(folder):
    for name in ("root", "behind"):
        subprocess.run(["e2fsck", "-fn", str(folder / name)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        content = subprocess.run(["debugfs", "-R", "cat /file", str(folder / name)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                 check=True).stdout
        assert len(content) == 2048000, f"{name}: {len(content)} bytes are on the stick"
        digest = hashlib.sha256(content).hexdigest()
        yield f"sum {name} {digest} {digest}"


def judge(program, controller):
    with tempfile.TemporaryDirectory() as folder:
        status, lines = run(program, controller, Path(folder))
        try:
            expected = [*sums(Path(folder)), "USB-OVER", "SCRIPT-DONE", "menura USB keyboard", "menura USB tablet"]
        except (AssertionError, subprocess.CalledProcessError) as error:
            raise SystemExit("\n".join(lines) + f"\n{controller}: {error}")
    expected += [f"stick root speed {CONTROLLERS[controller][1]} removable 1 size 16384", "stick behind speed 12 removable 0 size 16384"]
    # EV_KEY KEY_A down and up; EV_ABS both axes as HID tells them, EV_KEY BTN_LEFT.
    expected += ["input keyboard 1 30 1", "input keyboard 1 30 0", "input tablet 3 0 4096", "input tablet 3 1 8192", "input tablet 1 272 1"]
    missing = [line for line in expected if line not in lines]
    oops = [line for line in lines if any(word in line for word in ("BUG:", "Oops", "general protection", "I/O error", "HC died"))]
    if status or missing or oops:
        raise SystemExit("\n".join(lines) + f"\n{controller}: status {status}, missing {missing}, kernel complaints {oops}")
    print(f"{controller}: two sticks, keyboard and tablet", flush=True)


def boots(program, sector, controller):
    """SeaBIOS finds a boot sector on a stick."""
    with tempfile.NamedTemporaryFile() as image:
        image.write(Path(sector).read_bytes())
        image.truncate(1 << 20)
        words = [program, "-accel", "jit", "-m", "64", "-nodefaults", "-nographic", "-serial", "stdio", "-no-reboot", "-device",
                 f"{controller},id=usb", "-drive", f"file={image.name},if=none,id=stick,format=raw", "-device",
                 "usb-storage,bus=usb.0,drive=stick,bootindex=1", "-device", "isa-debug-exit"]
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        timer = threading.Timer(60, process.kill)
        timer.start()
        output = b""
        while b"second sector read" not in output and (byte := process.stdout.read(1)):
            output += byte
        timer.cancel()
        process.kill()
        process.wait()
        if b"second sector read" not in output:
            raise SystemExit(f"{controller}: SeaBIOS did not boot from the stick: {output[-500:]}")
        print(f"{controller}: SeaBIOS booted from a stick", flush=True)


def main():
    program, sector = sys.argv[1:3]
    try:
        guest.prepare()
        guest.kernel_package()
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"SKIPPED: no guest kernel: {error}")
        sys.exit(77)
    for controller in sys.argv[3:] or CONTROLLERS:
        boots(program, sector, controller)
        judge(program, controller)


if __name__ == "__main__":
    main()
