"""The guests that `./x boot` and the tests start: Debian's kernels, and userlands made from Debian's packages.

All lie in build/guest/. Packages are downloaded and unpacked there, not installed: the host's boot loader is left alone. Those of
another architecture come through a private apt root, which knows the host's sources and nothing of its packages."""

import gzip
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import tree

FOLDER = tree.ROOT / "build/guest"
PACKAGES = FOLDER / "packages"
KERNEL, INITRD = FOLDER / "vmlinuz", FOLDER / "initrd.gz"
# What the kernel needs to reach a file system on the IDE disk, beside what these modules depend on.
DISK_MODULES = ["crc32c_generic", "ata_piix", "sd_mod", "ext4"]

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /root
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root PS1='menura:\\w\\$ '
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo "INIT-REACHED $(cut -d' ' -f1 /proc/uptime)"
for module in $(cat /modules/order 2>/dev/null); do insmod /modules/$module.ko; done
if grep -q menura.root= /proc/cmdline; then
  device=$(sed 's/.*menura.root=\\([^ ]*\\).*/\\1/' /proc/cmdline)
  n=0; while [ ! -b $device ] && [ $n -lt 50 ]; do n=$((n + 1)); sleep 0.2; done
  mkdir -p /newroot && mount -t ext4 $device /newroot && exec switch_root -c /dev/console /newroot /sbin/init
  echo "No root on $device"
  poweroff -f
fi
if grep -q menura.script /proc/cmdline; then
  [ -f /script ] && sh /script
  echo SCRIPT-DONE
  poweroff -f
fi
echo
echo "Debian's kernel $(uname -r) on menura. 'poweroff -f' ends the machine; so does Ctrl-A x."
cd /root
setsid cttyhack sh
poweroff -f
"""


def apt_options(architecture):
    """Options that let apt see another architecture's packages without a trace on the host; none for the host's own."""
    if architecture == "amd64":
        return ["-o", "APT::Sandbox::User=root"]
    root = FOLDER / f"apt-{architecture}"
    for folder in ("state/lists/partial", "cache/archives/partial"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    (root / "status").touch()
    options = {"Dir::State": root / "state", "Dir::State::status": root / "status", "Dir::Cache": root / "cache",
               "APT::Architecture": architecture, "APT::Architectures": architecture, "APT::Sandbox::User": "root",
               "Acquire::Languages": "none"}
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    if not any((root / "state/lists").glob("*Packages*")):
        # Not every list is needed: one that cannot be had is told when a package is missing.
        subprocess.run(["apt-get", *words, "-qq", "update"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return words


def package(name, architecture="amd64"):
    """The folder of a Debian package's files."""
    folder = PACKAGES / f"{name}-{architecture}"
    if folder.is_dir():
        return folder
    PACKAGES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=PACKAGES) as work:
        os.chmod(work, 0o755)
        print(f"guest: fetching Debian's {name} ({architecture})", flush=True)
        subprocess.run(["apt-get", *apt_options(architecture), "download", "-qq", name], cwd=work, check=True)
        archive = next(Path(work).glob("*.deb"))
        subprocess.run(["dpkg-deb", "-x", str(archive), work + "/tree"], check=True)
        os.rename(work + "/tree", folder)
    return folder


def kernel_package(flavour="amd64", architecture="amd64"):
    """The files of the versioned package behind linux-image-FLAVOUR."""
    text = subprocess.run(["apt-cache", *apt_options(architecture), "depends", f"linux-image-{flavour}"], check=True, text=True,
                          stdout=subprocess.PIPE).stdout
    match = re.search(r"Depends: (linux-image-[0-9]\S+)", text)
    if not match:
        raise SystemExit(f"guest: Debian's package lists do not name a kernel linux-image-{flavour}; run apt-get update")
    return package(match[1], architecture)


def vmlinuz(folder):
    return next(folder.glob("boot/vmlinuz-*"))


def fetch_kernel():
    shutil.copyfile(vmlinuz(kernel_package()), KERNEL)


def modules_in_order(names, files):
    """The modules and what they depend on, as their .modinfo sections say, each after its own dependencies."""
    ordered = []
    for name in names:
        match = re.search(rb"\0depends=([^\0]*)\0", files[name].read_bytes())
        needed = match[1].decode().replace("-", "_").split(",") if match and match[1] else []
        ordered += [module for module in [*modules_in_order(needed, files), name] if module not in ordered]
    return ordered


def make_initrd(path=INITRD, script=None, busybox="/bin/busybox", modules_of=None, modules=DISK_MODULES):
    """busybox and an init; a script is run at start when the kernel's command line has menura.script. With modules_of, the files
    of a kernel's package, it loads these modules, by default those for disks, and menura.root=/dev/sda is gone on with."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "bin").mkdir()
        shutil.copy(busybox, root / "bin/busybox")
        (root / "init").write_text(INIT)
        (root / "init").chmod(0o755)
        if script:
            (root / "script").write_text(script)
        if modules_of:
            (root / "modules").mkdir()
            files = {file.stem.replace("-", "_"): file for file in modules_of.rglob("*.ko")}
            ordered = modules_in_order(modules, files)
            for name in ordered:
                shutil.copy(files[name], root / f"modules/{name}.ko")
            (root / "modules/order").write_text("\n".join(ordered))
        names = subprocess.run("find . | LC_ALL=C sort", shell=True, cwd=root, check=True, stdout=subprocess.PIPE).stdout
        archive = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=root, input=names, check=True,
                                 stdout=subprocess.PIPE).stdout
    path.write_bytes(gzip.compress(archive, 1, mtime=0))
    return path


def make_debian(path, packages):
    """An ext4 image with a Debian of these packages, whose root has no password."""
    with tempfile.TemporaryDirectory(dir=FOLDER) as folder:
        print(f"guest: installing a Debian with {', '.join(packages)}", flush=True)
        subprocess.run(["debootstrap", "--variant=minbase", "--include=" + ",".join(packages), "bookworm", folder], check=True,
                       stdout=subprocess.DEVNULL)
        write_debian(path, Path(folder))


def write_debian(path, root):
    subprocess.run(["chroot", str(root), "passwd", "-qd", "root"], check=True)
    (root / "etc/hostname").write_text("menura\n")
    (root / "etc/fstab").write_text("/dev/sda / ext4 errors=remount-ro 0 1\n")
    # Nothing is too slow: the host may have other things to do.
    (root / "etc/systemd/system.conf.d").mkdir(parents=True, exist_ok=True)
    (root / "etc/systemd/system.conf.d/patient.conf").write_text(
        "[Manager]\nDefaultTimeoutStartSec=900s\nDefaultDeviceTimeoutSec=900s\nRuntimeWatchdogSec=off\n")
    path.unlink(missing_ok=True)
    subprocess.run(["mkfs.ext4", "-q", "-L", "menura", "-d", str(root), str(path), "2G"], check=True)


def prepare():
    """Makes what is missing."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not KERNEL.exists():
        fetch_kernel()
    if not INITRD.exists() or INITRD.stat().st_mtime < Path(__file__).stat().st_mtime:
        make_initrd()
    return KERNEL, INITRD
