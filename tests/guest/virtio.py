#!/usr/bin/env python3
"""Debian's own virtio drivers with our devices, under the JIT: several of each, negotiated in every way, in one boot.

usage: virtio.py PROGRAM. Exit status 77 when the guest's files cannot be had."""

import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import guest  # noqa: E402

SECONDS = 400
MODULES = ["crc32c_generic", "virtio_pci", "virtio_blk", "virtio_rng", "ext4"]
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
echo "rng $(cat /sys/class/misc/hw_random/rng_current)"
dd if=/dev/hwrng bs=512 count=8 2>/dev/null | sha256sum | sed 's/^/random /'
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


def command(program, folder, seeds):
    options = []
    for name, properties in DISKS.items():
        make_disk(folder / name, seeds[name])
        options += ["-drive", f"file={folder / name},if=none,id={name},format=raw,discard=unmap", "-device",
                    f"virtio-blk-pci,drive={name},serial={name}" + (f",{properties}" if properties else "")]
    kernel = guest.kernel_package()
    initrd = guest.make_initrd(folder / "initrd.gz", SCRIPT, modules_of=kernel, modules=MODULES)
    return [program, "-accel", "tcg" if os.environ.get("MENURA_PEER") else "jit", "-m", "512", "-smp", "2", "-nodefaults", "-nographic",
            "-serial", "stdio", "-no-reboot", *options, "-device", "virtio-rng-pci", "-kernel", str(guest.vmlinuz(kernel)),
            "-initrd", str(initrd), "-append", "console=ttyS0 menura.script panic=-1"]


def check(folder, seeds, lines):
    wanted = ["VIRTIO-OVER"]
    for name in DISKS:
        wanted.append(f"sum {name} {hashlib.sha256(seeds[name]).hexdigest()}")
    missing = [line for line in wanted if line not in lines]
    complaints = [line for line in lines if any(word in line for word in ("BUG:", "Oops", "I/O error", "rejected", "cannot mount"))]
    for name in DISKS:
        if subprocess.run(["e2fsck", "-fn", str(folder / name)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT).returncode:
            complaints.append(f"the file system of {name} is damaged")
        for copy in ("copy1", "copy3"):
            if content(folder / name, copy) != seeds[name]:
                complaints.append(f"{name}/{copy} is not what the guest wrote")
        if content(folder / name, "sums").split() != [hashlib.sha256(seeds[name] * 2).hexdigest().encode(), b"-"]:
            complaints.append(f"{name}: the guest read something else than it wrote")
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
        seeds = {name: os.urandom(1_500_000) for name in DISKS}
        try:
            done = subprocess.run(command(program, Path(folder), seeds), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=SECONDS)
        except subprocess.TimeoutExpired as error:
            raise SystemExit(f"not done after {SECONDS} s; the serial line so far:\n{(error.stdout or b'').decode(errors='replace')}")
        text = done.stdout.decode(errors="replace").replace("\r", "")
        if os.environ.get("MENURA_LOG"):
            Path(os.environ["MENURA_LOG"]).write_text(text)
        problems = check(Path(folder), seeds, text.splitlines())
    if done.returncode or problems:
        raise SystemExit(f"{text}\nstatus {done.returncode}; {problems}")
    print(f"{len(DISKS)} disks read and written")


if __name__ == "__main__":
    main()
