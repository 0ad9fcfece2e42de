"""The guest that `./x boot` and the tests start: Debian's own kernel, and a busybox userland made into an initrd.

Both lie in build/guest/. The kernel's package is downloaded and unpacked there, not installed: the host's boot loader is left alone."""

import gzip
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import tree

FOLDER = tree.ROOT / "build/guest"
KERNEL, INITRD = FOLDER / "vmlinuz", FOLDER / "initrd.gz"

INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /root
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root PS1='menura:\\w\\$ '
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
echo "INIT-REACHED $(cut -d' ' -f1 /proc/uptime)"
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


def kernel_package():
    """The versioned package behind linux-image-amd64."""
    text = subprocess.run(["apt-cache", "depends", "linux-image-amd64"], check=True, text=True, stdout=subprocess.PIPE).stdout
    match = re.search(r"Depends: (linux-image-[0-9]\S+)", text)
    if not match:
        raise SystemExit("guest: Debian's package lists do not name a kernel; run apt-get update")
    return match[1]


def fetch_kernel():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        package = kernel_package()
        print(f"guest: fetching Debian's {package}", flush=True)
        subprocess.run(["apt-get", "download", "-qq", "-o", "APT::Sandbox::User=root", package], cwd=folder, check=True)
        archive = next(Path(folder).glob("*.deb"))
        subprocess.run(["dpkg-deb", "-x", str(archive), folder + "/tree"], check=True)
        shutil.copyfile(next(Path(folder).glob("tree/boot/vmlinuz-*")), KERNEL)


def make_initrd(path=INITRD, script=None):
    """busybox and an init; a script is run at start when the kernel's command line has menura.script."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "bin").mkdir()
        shutil.copy("/bin/busybox", root / "bin/busybox")
        (root / "init").write_text(INIT)
        (root / "init").chmod(0o755)
        if script:
            (root / "script").write_text(script)
        names = subprocess.run("find . | LC_ALL=C sort", shell=True, cwd=root, check=True, stdout=subprocess.PIPE).stdout
        archive = subprocess.run(["cpio", "--quiet", "-o", "-H", "newc", "-R", "0:0"], cwd=root, input=names, check=True,
                                 stdout=subprocess.PIPE).stdout
    path.write_bytes(gzip.compress(archive, 1, mtime=0))
    return path


def prepare():
    """Makes what is missing."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    if not KERNEL.exists():
        fetch_kernel()
    if not INITRD.exists() or INITRD.stat().st_mtime < Path(__file__).stat().st_mtime:
        make_initrd()
    return KERNEL, INITRD
