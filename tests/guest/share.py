#!/usr/bin/env python3
"""Debian's v9fs with our shared folders, one for each security model: files, links, owners, names, random operations beside a model
of them (fsx), and what the host sees of it all. usage: share.py PROGRAM. Exit status 77 when the guest's files cannot be had."""

import hashlib
import os
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import guest  # noqa: E402

SECONDS = 200
MODELS = ["none", "passthrough", "mapped-xattr", "mapped-file"]
SCRIPT = """
dmesg -n 1
for model in none passthrough mapped-xattr mapped-file readonly; do
  mkdir -p /mnt/$model
  mount -t 9p -o trans=virtio,version=9p2000.L,msize=262144 $model /mnt/$model || echo "mounting $model failed"
done
cp /mnt/none/.fsx /fsx; chmod 755 /fsx
for model in none passthrough mapped-xattr mapped-file; do
  cd /mnt/$model
  echo "$model seed $(sha256sum < seed | cut -d' ' -f1)"
  echo "$model $(/fsx fsx.file 1500 $((${#model}))) status $?"
  mkdir -p a/b && echo deep > a/b/c && mv a/b a/d && echo "$model moved $(cat a/d/c)"
  ln -s ../seed a/link && echo "$model link $(readlink a/link) $(sha256sum < a/link | cut -d' ' -f1)"
  ln seed hard && echo "$model links $(stat -c %h seed)"
  echo "$model names $(ls -A a | sort | tr '\\n' ' ')"
  touch owned && chown 123:456 owned && chmod 4751 owned && echo "$model owned $(stat -c '%a %u %g' owned)"
  mknod null c 1 3 && echo "$model device $(stat -c '%F %t %T' null)"
  for i in $(seq 300); do : > a/file$i; done; echo "$model many $(ls a | wc -l)"
  rm -r a/file* && rmdir a 2>/dev/null || echo "$model kept"
  exec 5> gone; rm gone; echo more >&5 && echo "$model unlinked"; exec 5>&-
  head -c 3000000 /bin/busybox > big; echo "$model big $(sha256sum < big | cut -d' ' -f1)"
  cd /
done
touch /mnt/readonly/new 2>/dev/null || echo "readonly refused $(cat /mnt/readonly/seed | sha256sum | cut -d' ' -f1)"
cat /mnt/none/away 2>/dev/null || echo "nothing away"
cat /mnt/none/up/outside 2>/dev/null || echo "nothing up"
umount /mnt/*
dmesg | grep -E 'BUG:|Oops|general protection|9pnet'
echo SHARE-OVER
"""


def command(program, folder):
    options = []
    for model in [*MODELS, "readonly"]:
        shared = folder / model
        shared.mkdir()
        (shared / "seed").write_bytes(bytes(range(256)) * 1000)
        security = "none,readonly=on" if model == "readonly" else model
        options += ["-virtfs", f"local,path={shared},mount_tag={model},security_model={security}"]
    subprocess.run(["gcc", "-O1", "-static", "-o", str(folder / "none/.fsx"), str(Path(__file__).parent / "fsx.c")], check=True)
    (folder / "outside").write_text("not for the guest")
    (folder / "none/away").symlink_to(folder / "outside")
    (folder / "none/up").symlink_to("..")
    kernel = guest.kernel_package()
    initrd = guest.make_initrd(folder / "initrd.gz", SCRIPT, modules_of=kernel, modules=["virtio_pci", "9pnet_virtio", "9p"])
    return [program, "-accel", "tcg" if os.environ.get("MENURA_PEER") else "jit", "-m", "512", "-nodefaults", "-nographic", "-serial",
            "stdio", "-no-reboot", *options, "-kernel", str(guest.vmlinuz(kernel)), "-initrd", str(initrd), "-append",
            "console=ttyS0 menura.script panic=-1"]


def expected_lines(root):
    seed = hashlib.sha256(bytes(range(256)) * 1000).hexdigest()
    busybox = Path("/bin/busybox").read_bytes()[:3000000]
    for model in MODELS:
        yield from (f"{model} seed {seed}", f"{model} fsx: 1500 operations agree status 0", f"{model} moved deep",
                    f"{model} link ../seed {seed}", f"{model} links 2", f"{model} names d link ", f"{model} many 302", f"{model} unlinked",
                    f"{model} kept", f"{model} big {hashlib.sha256(busybox).hexdigest()}")
        if model != "none" and (root or model.startswith("mapped")):
            yield f"{model} owned 4751 123 456"
            yield f"{model} device character special file 1 3"
    yield from (f"readonly refused {seed}", "nothing away", "nothing up", "SHARE-OVER", "SCRIPT-DONE")


def host_problems(folder):
    busybox = Path("/bin/busybox").read_bytes()[:3000000]
    for model in MODELS:
        shared = folder / model
        if (shared / "big").read_bytes() != busybox:
            yield f"{model}: the host reads something else"
        if not os.path.samefile(shared / "seed", shared / "hard"):
            yield f"{model}: the hard link is none"
        if model.startswith("mapped"):
            if not stat.S_ISREG((shared / "null").lstat().st_mode) or stat.S_IMODE((shared / "owned").stat().st_mode) != 0o600:
                yield f"{model}: the host has the guest's modes"
    if os.getxattr(folder / "mapped-xattr/owned", "user.virtfs.uid") != (123).to_bytes(4, "little"):
        yield "mapped-xattr: the owner is not in the attribute"
    if "virtfs.uid=123" not in (folder / "mapped-file/.virtfs_metadata/owned").read_text():
        yield "mapped-file: the owner is not in the file"


def main():
    program = sys.argv[1]
    try:
        guest.prepare()
        guest.kernel_package()
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"SKIPPED: no guest kernel: {error}")
        sys.exit(77)
    if not shutil.which("gcc"):
        print("SKIPPED: no compiler for the guest's fsx")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process = subprocess.run(command(program, folder), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 timeout=SECONDS, check=False)
        lines = [line.rstrip("\r") for line in process.stdout.decode(errors="replace").split("\n")]
        missing = [line for line in expected_lines(os.geteuid() == 0) if line not in lines]
        problems = [] if missing else list(host_problems(folder))
        oops = [line for line in lines if any(word in line for word in ("BUG:", "Oops", "general protection"))]
        if process.returncode or missing or problems or oops:
            raise SystemExit("\n".join(lines) + f"\nstatus {process.returncode}, missing {missing}, {problems}, kernel complaints {oops}")
    print("shared folders: none, passthrough, mapped-xattr, mapped-file, and one to read only")


if __name__ == "__main__":
    main()
