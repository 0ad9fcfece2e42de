"""The devices' suite: what a guest's disk and network cost, under menura's JIT and QEMU's TCG in turn.

./x bench devices [--rounds N] [--only menura,qemu]

One Debian kernel with virtio_blk and virtio_net runs each job and tells its own seconds; the figure is MB/s or
requests a second, medians of the rounds, higher is better. Only ratios of one run count. fio is used where the
guest has it; here busybox' dd with O_DIRECT does, whose requests are one at a time.
"""

import argparse
import functools
import http.server
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

ROOT = Path(os.environ.get("MENURA_ROOT", Path(__file__).resolve().parent.parent))
sys.path.insert(0, str(ROOT / "tools"))

import guest  # noqa: E402

DISK_MB = 256
MODULES = ["virtio_pci", "virtio_blk", "virtio_net"]
# Name, unit, amount, command.
JOBS = [
    ("read 4 KiB", "requests/s", 8000, "dd if=/dev/vda of=/dev/null bs=4k count=8000 iflag=direct"),
    ("write 4 KiB", "requests/s", 8000, "dd if=/dev/zero of=/dev/vda bs=4k count=8000 oflag=direct"),
    ("read 1 MiB", "MiB/s", DISK_MB, f"dd if=/dev/vda of=/dev/null bs=1M count={DISK_MB} iflag=direct"),
    ("write 1 MiB", "MiB/s", DISK_MB, f"dd if=/dev/zero of=/dev/vda bs=1M count={DISK_MB} oflag=direct"),
    ("read cached", "MiB/s", DISK_MB, f"dd if=/dev/vda of=/dev/null bs=64k count={DISK_MB * 16}"),
    ("fetch by HTTP", "MiB/s", 32, "wget -q -O /dev/null http://10.0.2.2:@PORT@/file"),
]
SCRIPT = """dmesg -n 1
ifconfig eth0 10.0.2.15 netmask 255.255.255.0 up
""" + "".join(f"""a=$(cut -d' ' -f1 /proc/uptime); {command} 2>/tmp/err || cat /tmp/err
echo "JOB {number} $a $(cut -d' ' -f1 /proc/uptime)"
""" for number, (_, _, _, command) in enumerate(JOBS))


class Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def programs(only):
    found = {"menura": [os.path.join(os.environ.get("MENURA_BIN", ROOT / "build/bench/bin"), "menura-system-x86_64"), "-accel", "jit"],
             "qemu": [shutil.which("qemu-system-x86_64"), "-accel", "tcg"]}
    return {name: command for name, command in found.items() if name in only and command[0]}


def run(command, folder, kernel, initrd):
    command = [*command, "-m", "512", "-nodefaults", "-nographic", "-serial", "stdio", "-no-reboot", "-kernel", str(kernel), "-initrd",
               str(initrd), "-append", "console=ttyS0 menura.script panic=-1", "-drive", f"file={folder}/disk,if=none,id=d,format=raw",
               "-device", "virtio-blk-pci,drive=d", "-netdev", "user,id=n", "-device", "virtio-net-pci,netdev=n"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=900)
    text = done.stdout.decode(errors="replace")
    jobs = re.findall(r"JOB (\d+) ([\d.]+) ([\d.]+)", text)
    if len(jobs) != len(JOBS):
        raise SystemExit(text)
    return [JOBS[int(number)][2] / max(0.01, float(end) - float(begin)) for number, begin, end in jobs]


def main():
    parser = argparse.ArgumentParser(prog="./x bench devices")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="menura,qemu")
    options = parser.parse_args()
    kernel = guest.kernel_package()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "file").write_bytes(os.urandom(32 << 20))
        (folder / "disk").write_bytes(os.urandom(1 << 20) * DISK_MB)
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Files, directory=name))
        threading.Thread(target=server.serve_forever, daemon=True).start()
        initrd = guest.make_initrd(folder / "initrd.gz", SCRIPT.replace("@PORT@", str(server.server_port)), modules_of=kernel,
                                   modules=MODULES)
        found = programs(options.only.split(","))
        rounds = {program: [] for program in found}
        for _ in range(options.rounds):
            for program, command in found.items():
                rounds[program].append(run(command, folder, guest.vmlinuz(kernel), initrd))
    medians = {program: [statistics.median(column) for column in zip(*table)] for program, table in rounds.items()}
    for number, (job, unit, _, _) in enumerate(JOBS):
        figures = "  ".join(f"{program} {medians[program][number]:10.1f}" for program in medians)
        ratio = f"  {medians['menura'][number] / medians['qemu'][number]:5.2f} x" if len(medians) == 2 else ""
        print(f"{job:14} {unit:10}  {figures}{ratio}")
    results = ROOT / "build/bench/results"
    results.mkdir(parents=True, exist_ok=True)
    (results / "devices.json").write_text(json.dumps({"jobs": [job[0] for job in JOBS], "rounds": rounds}, indent=1))


if __name__ == "__main__":
    main()
