#!/usr/bin/env python3
"""Block jobs, snapshots, bitmaps and transactions over QMP, as libvirt uses them, with Debian's qemu-img as the judge of what is on disk.

Usage: jobs.py MENURA_SYSTEM. Exit status 77 (skipped) where qemu-utils is missing."""

import json
import signal
import traceback
import os
import shutil
import subprocess
import sys
import tempfile

MENURA = os.path.abspath(sys.argv[1])
if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
    print("qemu-utils is not installed: nobody to judge")
    sys.exit(77)


machines = []


class Machine:
    """The program with its CPUs at rest, and one QMP client on its standard input and output."""

    def __init__(self, *words):
        self.process = subprocess.Popen([MENURA, "-S", "-nodefaults", "-display", "none", "-accel", "jit", "-m", "16", "-qmp", "stdio", *words], text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        machines.append(self.process)
        self.events = []
        assert "QMP" in self.read()
        self("qmp_capabilities")

    def read(self):
        line = self.process.stdout.readline()
        assert line, "the program ended"
        return json.loads(line)

    def raw(self, command, **arguments):
        self.process.stdin.write(json.dumps({"execute": command, "arguments": {k.replace("_", "-"): v for k, v in arguments.items()}}) + "\n")
        self.process.stdin.flush()
        while True:
            reply = self.read()
            if "event" not in reply:
                return reply
            self.events.append(reply)

    def __call__(self, command, **arguments):
        reply = self.raw(command, **arguments)
        assert "return" in reply, (command, arguments, reply)
        return reply["return"]

    def refuses(self, command, **arguments):
        reply = self.raw(command, **arguments)
        assert "error" in reply, (command, arguments, reply)
        return reply["error"]

    def wait(self, event, **data):
        while True:
            for at, seen in enumerate(self.events):
                if seen["event"] == event and all(seen["data"].get(k) == v for k, v in data.items()):
                    del self.events[:at + 1]
                    return seen["data"]
            self.events.append(self.read())

    def concluded(self, job):
        self.wait("JOB_STATUS_CHANGE", id=job, status="concluded")
        info = [j for j in self("query-jobs") if j["id"] == job][0]
        assert "error" not in info, info
        self("job-dismiss", id=job)

    def end(self):
        self("quit")
        assert self.process.wait(60) == 0


def image(name, *options, fmt="qcow2", size="16M", writes=()):
    subprocess.run(["qemu-img", "create", "-q", "-f", fmt, *options, name, size], check=True)
    if writes:
        subprocess.run(["qemu-io", "-f", fmt, *sum((["-c", w] for w in writes), []), name], check=True, stdout=subprocess.DEVNULL)
    return name


def same(a, b, *options):
    subprocess.run(["qemu-img", "compare", "-q", *options, a, b], check=True)


def sound(*names):
    for name in names:
        subprocess.run(["qemu-img", "check", "-q", name], check=True)


def info(name):
    return json.loads(subprocess.run(["qemu-img", "info", "-U", "--output=json", name], check=True, stdout=subprocess.PIPE).stdout)


def file_node(name, file):
    return {"driver": "file", "node-name": name, "filename": file}


WRITES = ["write -P 1 0 4M", "write -P 2 5M 100k", "write -z 6M 1M"]


def libvirt_snapshot_and_commit():
    """virsh snapshot-create --disk-only, then blockcommit --active --pivot."""
    image("base", writes=WRITES)
    shutil.copy("base", "before")
    m = Machine("-blockdev", json.dumps(file_node("f0", "base")), "-blockdev", '{"driver":"qcow2","node-name":"n0","file":"f0","backing":null}',
                "-device", "ide-hd,drive=n0,id=disk0")
    m("blockdev-create", job_id="make-file", options={"driver": "file", "filename": "top", "size": 0})
    m.concluded("make-file")
    m("blockdev-add", **file_node("f1", "top"))
    m("blockdev-create", job_id="make-qcow2", options={"driver": "qcow2", "file": "f1", "size": 16 << 20, "backing-file": "base", "backing-fmt": "qcow2"})
    states = [m.wait("JOB_STATUS_CHANGE", id="make-qcow2")["status"] for _ in range(4)]
    assert states == ["created", "running", "waiting", "pending"], states
    m.concluded("make-qcow2")
    m("blockdev-add", driver="qcow2", node_name="n1", file="f1", backing=None)
    m("transaction", actions=[{"type": "blockdev-snapshot", "data": {"node": "n0", "overlay": "n1"}}])
    assert info("top")["backing-filename"] == "base"
    m("block-commit", job_id="commit0", device="n1", auto_dismiss=False, auto_finalize=True)
    m.wait("BLOCK_JOB_READY", device="commit0")
    job = m("query-block-jobs")[0]
    assert job["ready"] and job["type"] == "commit" and job["status"] == "ready", job
    m("transaction", actions=[{"type": "block-dirty-bitmap-add", "data": {"node": "n0", "name": "b0", "persistent": False}}])
    m("job-complete", id="commit0")
    m.wait("BLOCK_JOB_COMPLETED", device="commit0")
    m.concluded("commit0")
    m("blockdev-del", node_name="n1")
    m("blockdev-del", node_name="f1")
    m.end()
    same("base", "before")
    sound("base", "top")


def stream_and_commit_in_the_middle():
    image("a", writes=WRITES)
    image("b", "-b", "a", "-F", "qcow2", writes=["write -P 3 1M 1M", "write -P 4 8M 64k"])
    image("c", "-b", "b", "-F", "qcow2", writes=["write -P 5 2M 1M"])
    image("d", "-b", "c", "-F", "qcow2", writes=["write -P 6 3M 64k"])
    subprocess.run(["qemu-img", "convert", "-O", "raw", "d", "flat"], check=True)
    m = Machine("-drive", "if=none,id=disk0,format=qcow2,file=d", "-device", "ide-hd,drive=disk0")
    m("block-commit", device="disk0", top="c", base="b")
    m.wait("BLOCK_JOB_COMPLETED", device="disk0", type="commit")
    m.wait("JOB_STATUS_CHANGE", id="disk0", status="null")
    m("block-stream", job_id="s", device="disk0", base="a", speed=64 << 20)
    m.wait("BLOCK_JOB_COMPLETED", device="s", type="stream")
    m.end()
    assert info("d")["backing-filename"] == "a", info("d")
    same("d", "flat")
    sound("a", "b", "d")
    m = Machine("-drive", "if=none,id=disk0,format=qcow2,file=d", "-device", "ide-hd,drive=disk0")
    m("block-stream", device="disk0")
    m.wait("BLOCK_JOB_COMPLETED", device="disk0")
    m.end()
    assert "backing-filename" not in info("d")
    same("d", "flat")


def mirrors():
    image("s", writes=WRITES)
    for mode in ("background", "write-blocking"):
        image("t", fmt="raw")
        m = Machine("-drive", "if=none,id=disk0,format=qcow2,file=s", "-device", "ide-hd,drive=disk0")
        m("blockdev-add", driver="raw", node_name="t0", file={"driver": "file", "filename": "t"})
        m("blockdev-mirror", job_id="m", device="disk0", target="t0", sync="full", copy_mode=mode)
        m.wait("BLOCK_JOB_READY", device="m")
        m("block-job-complete", device="m")
        done = m.wait("BLOCK_JOB_COMPLETED", device="m")
        assert done["offset"] == done["len"] and "error" not in done, done
        m.refuses("blockdev-del", node_name="t0")
        m.end()
        same("s", "t", "-f", "qcow2", "-F", "raw")
    m = Machine("-drive", "if=none,id=disk0,format=qcow2,file=s", "-device", "ide-hd,drive=disk0")
    m("drive-mirror", device="disk0", target="u", format="qcow2", sync="full", speed=1)
    m("block-job-pause", device="disk0")
    m("block-job-resume", device="disk0")
    m.refuses("drive-mirror", device="disk0", target="v", format="qcow2", sync="full", job_id="other")
    m("block-job-set-speed", device="disk0", speed=0)
    m("block-job-cancel", device="disk0", force=True)
    m.wait("BLOCK_JOB_CANCELLED", device="disk0")
    m("drive-mirror", device="disk0", target="u", format="qcow2", sync="full", mode="existing")
    m.wait("BLOCK_JOB_READY")
    m("block-job-cancel", device="disk0")
    m.wait("BLOCK_JOB_COMPLETED")
    m.end()
    same("s", "u")
    sound("s", "u")


def backups():
    image("s", writes=WRITES)
    m = Machine("-drive", "if=none,id=disk0,format=qcow2,file=s", "-device",
                "ide-hd,drive=disk0")
    m("block-dirty-bitmap-add", node="disk0", name="b0", persistent=True, granularity=65536)
    m("drive-backup", device="disk0", target="full", format="qcow2", sync="full", compress=True)
    m.wait("BLOCK_JOB_COMPLETED")
    m.end()
    same("s", "full")
    sound("s", "full")
    subprocess.run(["qemu-io", "-c", "write -P 9 7M 100k", "s"], check=True, stdout=subprocess.DEVNULL)
    m = Machine("-drive", "if=none,id=disk0,format=qcow2,file=s", "-device", "ide-hd,drive=disk0")
    shutil.copy("full", "inc")
    m("transaction", actions=[{"type": "drive-backup", "data": {"device": "disk0", "job-id": "i", "target": "inc", "mode": "existing", "format": "qcow2",
                                                                "sync": "incremental", "bitmap": "b0"}}])
    done = m.wait("BLOCK_JOB_COMPLETED", device="i")
    assert done["len"] == 2 * 65536 and "error" not in done, done
    m.refuses("drive-backup", device="disk0", target="x", sync="incremental", bitmap="no-such")
    m.end()
    same("s", "inc")
    sound("s", "inc")
    m = Machine("-drive", "if=none,id=disk0,format=qcow2,file=s", "-device", "ide-hd,drive=disk0")
    m("block-dirty-bitmap-add", node="disk0", name="b1")
    m("block-dirty-bitmap-merge", node="disk0", target="b1", bitmaps=["b0"])
    m("block-dirty-bitmap-disable", node="disk0", name="b1")
    m("block-dirty-bitmap-clear", node="disk0", name="b1")
    m("block-dirty-bitmap-enable", node="disk0", name="b1")
    m("block-dirty-bitmap-remove", node="disk0", name="b0")
    m.refuses("block-dirty-bitmap-remove", node="disk0", name="b0")
    m.end()
    assert "bitmaps" not in info("s")["format-specific"]["data"]


def transactions_are_all_or_nothing():
    image("s", writes=WRITES)
    m = Machine("-drive", "if=none,id=disk0,format=qcow2,file=s", "-device", "ide-hd,drive=disk0")
    m.refuses("transaction", actions=[{"type": "block-dirty-bitmap-add", "data": {"node": "disk0", "name": "b0"}},
                                      {"type": "blockdev-snapshot-sync", "data": {"device": "disk0", "snapshot-file": "o", "snapshot-node-name": "o"}},
                                      {"type": "drive-backup", "data": {"device": "disk0", "job-id": "j", "target": "t", "sync": "full"}},
                                      {"type": "abort"}])
    assert m("query-block-jobs") == []
    m.refuses("block-dirty-bitmap-remove", node="disk0", name="b0")
    m("blockdev-snapshot-sync", device="disk0", snapshot_file="p", snapshot_node_name="p")
    m.refuses("transaction", actions=[{"type": "no-such-thing", "data": {}}])
    m("block-commit", device="disk0")
    m.wait("BLOCK_JOB_READY")
    m("block-job-complete", device="disk0")
    m.wait("BLOCK_JOB_COMPLETED")
    m.end()
    sound("s", "p")


def late(*_):
    raise TimeoutError("no answer")


signal.signal(signal.SIGALRM, late)
failed = 0
for case in (libvirt_snapshot_and_commit, stream_and_commit_in_the_middle, mirrors, backups, transactions_are_all_or_nothing):
    with tempfile.TemporaryDirectory(prefix="menura-jobs-") as folder:
        os.chdir(folder)
        signal.alarm(120)
        try:
            case()
        except Exception as error:  # every case is told, not only the first
            failed += 1
            traceback.print_exc(limit=-3)
            print(f"FAILED {case.__name__}: {type(error).__name__} {error}", flush=True)
        finally:
            signal.alarm(0)
            for process in machines:
                process.kill()
            machines.clear()
            os.chdir("/")
print(f"{5 - failed} of 5 passed")
sys.exit(1 if failed else 0)
