#!/usr/bin/python3
"""menura-nbd and the driver "nbd" against everybody else's NBD: libnbd, nbdkit, fio and QEMU's tools.

Usage: nbd_peers.py MENURA_NBD MENURA_IMG MENURA_SYSTEM [CASE...]. Exit status 77 (skipped) where the judges are missing."""

import contextlib
import fnmatch
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

NBD, IMG, SYSTEM = (os.path.abspath(program) for program in sys.argv[1:4])
WANTED = sys.argv[4:]
NEEDED = ["nbdinfo", "nbdcopy", "nbdkit", "fio", "qemu-nbd", "qemu-img", "qemu-io", "certtool"]
missing = [program for program in NEEDED if not shutil.which(program)]
try:
    import nbd
except ImportError:
    missing.append("python3-libnbd")
if missing:
    print("not installed: " + ", ".join(missing))
    sys.exit(77)

failures, count = [], 0
machines = []
MiB = 1 << 20


def run(*command, status=0, **more):
    done = subprocess.run(command, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, **more)
    if status is not None and done.returncode != status:
        raise AssertionError(f"{' '.join(command)}: status {done.returncode}, not {status}\n{done.stdout}{done.stderr}")
    return done


def img(*arguments, **more):
    return run(IMG, *arguments, **more)


def case(function):
    global count
    name = function.__name__
    if WANTED and not any(fnmatch.fnmatch(name, wish) for wish in WANTED):
        return function
    count += 1
    started = time.time()
    with tempfile.TemporaryDirectory(prefix="menura-nbd-") as folder:
        before = os.getcwd()
        os.chdir(folder)
        try:
            function()
        except Exception as error:  # every case is told, not only the first
            failures.append(name)
            print(f"FAILED {name}: {type(error).__name__}: {error}", flush=True)
        finally:
            for process in machines:
                if process.poll() is None:
                    process.kill()
            machines.clear()
            os.chdir(before)
    if os.environ.get("VERBOSE"):
        print(f"{name}: {time.time() - started:.1f} s", flush=True)
    return function


def equal(a, b, what=""):
    assert a == b, f"{what}: {a!r} is not {b!r}"


def refused(function, *arguments, errno=None):
    try:
        function(*arguments)
    except nbd.Error as error:
        if errno:
            equal(error.errno, errno, str(error))
        return error
    raise AssertionError(f"{function} was not refused")


@contextlib.contextmanager
def server(*command, path="s.sock", ready=None):
    """A server in the foreground until the end; ready when its socket is there."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        for _ in range(500):
            if ready() if ready else os.path.exists(path):
                break
            assert process.poll() is None, f"{command[0]} ended: {process.stderr.read()}"
            time.sleep(0.01)
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            raise AssertionError(f"{command[0]} did not end when asked to")
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def ours(*arguments, path="s.sock"):
    return server(NBD, "-t", "-k", path, *arguments, path=path)


def qemu_nbd(*arguments):
    return server("qemu-nbd", "-t", "-k", os.path.abspath("s.sock"), *arguments)


def nbdkit(*arguments):
    return server("nbdkit", "-f", "-U", "s.sock", *arguments)


def uri(name="", path="s.sock"):
    return f"nbd+unix:///{name}?socket={os.path.abspath(path)}"


@contextlib.contextmanager
def client(name="", contexts=(), prepare=lambda h: None, path="s.sock"):
    handle = nbd.NBD()
    handle.set_export_name(name)
    for context in contexts:
        handle.add_meta_context(context)
    prepare(handle)
    handle.connect_unix(os.path.abspath(path))
    yield handle
    with contextlib.suppress(nbd.Error):  # a case may have cut it off
        handle.shutdown()


def make(name="a.img", size=8 * MiB, fmt="raw", writes=("write -P 1 1M 64k", "write -P 2 3M 1M", "write -P 3 7M 128k")):
    run("qemu-img", "create", "-q", "-f", fmt, name, str(size))
    run("qemu-io", "-f", fmt, *sum((["-c", w] for w in writes), []), name)
    return name


def same_content(a, b, *arguments):
    run("qemu-img", "compare", "-q", *arguments, a, b)


# --- Our server

@case
def tells_what_qemu_nbd_tells():
    for fmt in "raw", "qcow2":
        file = make(fmt=fmt)
        told = []
        for serve in ours, qemu_nbd:
            with serve("-f", fmt, "-x", "disk", "-D", "a disk", "-A", "-e", "4", file):
                info = json.loads(run("nbdinfo", "--json", "--list", uri("disk")).stdout)
                maps = [run("nbdinfo", "--json", f"--map={c}", uri("disk")).stdout for c in ("base:allocation", "qemu:allocation-depth")]
            told.append((info, [json.loads(m) for m in maps]))
        ours_info, theirs = told[0][0]["exports"][0], told[1][0]["exports"][0]
        equal(told[0][0]["protocol"], told[1][0]["protocol"])
        for key in theirs:
            if key in ("block_size_preferred", "uri"):  # ours is the cluster
                continue
            equal(ours_info[key], theirs[key], f"{fmt} {key}")
        for a, b in zip(told[0][1], told[1][1]):
            flat = lambda m: [(e["offset"], e["length"], e["type"]) for e in m]
            equal(flat(a), flat(b), f"{fmt} map")


@case
def obeys_libnbd():
    file = make(writes=["write -P 1 0 8M"])
    with ours("-f", "raw", "-e", "0", "--discard=unmap", file), client(contexts=["base:allocation"]) as h:
        assert h.get_structured_replies_negotiated() and h.can_multi_conn() and h.can_fast_zero() and h.can_df()
        equal(h.get_size(), 8 * MiB)
        for offset, length in (0, 1), (511, 3), (5000, 100_000), (8 * MiB - 1, 1), (0, 8 * MiB):
            equal(h.pread(length, offset), b"\1" * length, f"{length} at {offset}")
        h.pwrite(b"hello", 4095, nbd.CMD_FLAG_FUA)
        pieces = []
        h.pread_structured(2 * MiB, 0, lambda data, offset, status, error: pieces.append(len(data)) or 0, nbd.CMD_FLAG_DF)
        equal(pieces, [2 * MiB])
        equal(bytes(h.pread(5, 4095)), b"hello")
        h.zero(MiB, MiB)
        h.zero(2 * MiB, 100, nbd.CMD_FLAG_NO_HOLE)
        h.zero(3 * MiB, MiB, nbd.CMD_FLAG_FAST_ZERO)
        h.trim(5 * MiB, MiB, nbd.CMD_FLAG_FUA)
        h.cache(3 * MiB, 0)
        h.flush()
        equal(bytes(h.pread(MiB, MiB)), bytes(MiB))
        extents = []
        h.block_status(8 * MiB, 0, lambda context, offset, entries, error: extents.extend(entries) or 0)
        equal(sum(extents[::2]), 8 * MiB)
        assert 3 in extents[1::2], "holes are told"
        chunks = []
        h.pread_structured(8 * MiB, 0, lambda data, offset, status, error: chunks.append(status) or 0)
        assert nbd.READ_HOLE in chunks and nbd.READ_DATA in chunks


@case
def says_no_as_it_should():
    file = make()
    strict = lambda h: h.set_strict_mode(0)  # libnbd would not even send these
    with ours("-f", "raw", "-r", "-e", "0", file), client(contexts=["base:allocation"], prepare=strict) as h:
        assert h.is_read_only()
        refused(h.pwrite, b"x" * 512, 0, errno="EPERM")
        refused(h.trim, 512, 0, errno="EPERM")
        refused(h.zero, 512, 0, errno="EPERM")
        refused(h.pread, 2, 8 * MiB - 1, errno="EINVAL")
        refused(h.pread, 512, 1 << 62, errno="EINVAL")
        refused(h.cache, 512, 8 * MiB, errno="EINVAL")
        equal(bytes(h.pread(1, MiB)), b"\1")  # still there
        for flag in (nbd.CMD_FLAG_FAST_ZERO, 1 << 7):
            refused(h.pread, 512, 0, flag, errno="EINVAL")
    with ours("-f", "raw", "-e", "0", file), client(prepare=strict) as h:
        refused(h.pwrite, b"x" * 2, 8 * MiB - 1, errno="ENOSPC")
        refused(h.zero, 1 << 30, 0, errno="ENOSPC")
        refused(h.block_status, 512, 0, lambda *a: 0, errno="EINVAL")  # no context was agreed
        equal(bytes(h.pread(1, MiB)), b"\1")


@case
def speaks_with_old_clients():
    file = make()
    with ours("-f", "raw", "-e", "0", "-x", "n", file):
        with client("n", prepare=lambda h: h.set_request_structured_replies(False)) as h:
            assert not h.get_structured_replies_negotiated()
            equal(bytes(h.pread(3 * MiB, MiB))[:65536], b"\1" * 65536)
            h.pwrite(b"abc", 10)
            equal(bytes(h.pread(3, 10)), b"abc")
        for flags in 0, nbd.HANDSHAKE_FLAG_FIXED_NEWSTYLE, nbd.HANDSHAKE_FLAG_NO_ZEROES:
            with client("n", prepare=lambda h: h.set_handshake_flags(flags)) as h:
                equal(bytes(h.pread(3, 10)), b"abc", f"handshake flags {flags}")
        refused(lambda: client("other").__enter__())


@case
def negotiates():
    file = make(fmt="qcow2")
    run("qemu-img", "bitmap", "--add", "-g", "64k", file, "b0")
    run("qemu-io", "-f", "qcow2", "-c", "write 2M 128k", file)
    run("qemu-img", "bitmap", "--disable", file, "b0")
    with ours("-f", "qcow2", "-e", "0", "-x", "q", "-B", "b0", "-A", file):
        h = nbd.NBD()
        h.set_opt_mode(True)
        h.connect_unix(os.path.abspath("s.sock"))
        names = []
        equal(h.opt_list(lambda name, description: names.append((name, description)) or 0), 1)
        equal(names, [("q", "")])
        refused(h.opt_info)  # the empty name
        h.set_export_name("q")
        h.opt_info()
        equal(h.get_size(), 8 * MiB)
        all_names = ["base:allocation", "qemu:allocation-depth", "qemu:dirty-bitmap:b0"]
        for queries, wanted in ([], all_names), (["base:"], all_names[:1]), (["qemu:"], all_names[1:]), \
                (["qemu:dirty-bitmap:"], all_names[2:]), (["qemu:dirty-bitmap:b0", "x:y"], all_names[2:]), (["nothing:"], []):
            found = []
            h.clear_meta_contexts()
            for query in queries:
                h.add_meta_context(query)
            h.opt_list_meta_context(lambda name: found.append(name) or 0)
            equal(found, wanted, queries)
        h.clear_meta_contexts()
        for name in all_names:
            h.add_meta_context(name)
        h.opt_go()
        maps = {}
        h.block_status(8 * MiB, 0, lambda context, offset, entries, error: maps.setdefault(context, list(entries)) and 0)
        equal(sorted(maps), sorted(all_names))
        equal(maps["qemu:dirty-bitmap:b0"], [2 * MiB, 0, 128 << 10, 1, 6 * MiB - (128 << 10), 0])
        equal(maps["qemu:allocation-depth"][:4], [MiB, 0, 64 << 10, 1])
        one = []
        h.block_status(8 * MiB, 0, lambda context, offset, entries, error: one.append(list(entries)) or 0, nbd.CMD_FLAG_REQ_ONE)
        assert all(len(entries) == 2 for entries in one)
        h.shutdown()
    # What was asked once is the answer of QEMU's server too.
    with qemu_nbd("-f", "qcow2", "-x", "q", "-B", "b0", "-A", file), client("q", contexts=all_names) as h:
        theirs = {}
        h.block_status(8 * MiB, 0, lambda context, offset, entries, error: theirs.setdefault(context, list(entries)) and 0)
        for name in all_names[1:]:
            equal(maps[name], theirs[name], name)
    run("qemu-img", "bitmap", "--enable", file, "b0")
    done = run(NBD, "-k", "s.sock", "-f", "qcow2", "-B", "b0", file, status=1)
    assert "b0" in done.stderr
    assert "none" in run(NBD, "-k", "s.sock", "-f", "qcow2", "-B", "none", file, status=1).stderr


@case
def shows_depth_of_chains():
    make("base.qcow2", fmt="qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "top.qcow2")
    run("qemu-io", "-f", "qcow2", "-c", "write 0 64k", "-c", "write -z 64k 64k", "top.qcow2")
    told = []
    for serve in ours, qemu_nbd:
        with serve("-f", "qcow2", "-A", "-r", "top.qcow2"), client(contexts=["qemu:allocation-depth", "base:allocation"]) as h:
            maps = {}
            h.block_status(8 * MiB, 0, lambda context, offset, entries, error: maps.setdefault(context, list(entries)) and 0)
            told.append(maps)
    equal(told[0], told[1])


@case
def copies_with_nbdcopy():
    file = make("big.img", 64 * MiB, writes=["write -P 5 0 20M", "write -P 6 30M 13M", "write -P 7 63M 1M"])
    for fmt in "raw", "qcow2":
        run("qemu-img", "create", "-q", "-f", fmt, "to.img", "64M")
        with ours("-f", fmt, "-e", "8", "--discard=unmap", "to.img"):
            run("nbdcopy", "--connections=4", "--requests=32", file, uri())
            run("nbdcopy", "--connections=4", uri(), "back.img")
        same_content(file, "to.img", "-f", "raw", "-F", fmt)
        same_content(file, "back.img", "-f", "raw", "-F", "raw")
        os.unlink("back.img")
    run("qemu-img", "check", "-q", "to.img")


@case
def stands_fios_load():
    for fmt in "raw", "qcow2":
        run("qemu-img", "create", "-q", "-f", fmt, "f.img", "32M")
        with ours("-f", fmt, "-e", "0", "--discard=unmap", "f.img"):
            run("fio", "--name=t", "--ioengine=nbd", f"--uri={uri()}", "--rw=randrw", "--bsrange=512-256k", "--iodepth=16", "--size=32M",
                "--io_size=64M", "--numjobs=1", "--verify=crc32c", "--verify_fatal=1", "--output-format=terse")
    run("qemu-img", "check", "-q", "f.img")


@case
def serves_qemus_tools():
    file = make(fmt="qcow2")
    with ours("-f", "qcow2", "-e", "0", "--discard=unmap", file):
        out = run("qemu-io", "-f", "raw", "-c", "read -P 1 1M 64k", "-c", "write -P 9 5M 320k", "-c", "read -P 9 5M 320k", "-c", "write -z -u 3M 1M",
                  "-c", "read -P 0 3M 1M", "-c", "discard 5M 64k", "-c", "aio_write -P 8 0 1M", "-c", "aio_read 2M 1M", "-c", "aio_flush",
                  "-c", "write -f -P 4 6M 64k", uri()).stdout
        assert "fail" not in out.lower() and "error" not in out.lower(), out
        ours_map = json.loads(run("qemu-img", "map", "--output=json", "-f", "raw", uri()).stdout)
        # A format inside the export, grown by QEMU.
    with qemu_nbd("-f", "qcow2", file):
        theirs = json.loads(run("qemu-img", "map", "--output=json", "-f", "raw", uri()).stdout)
    equal(ours_map, theirs)
    run("qemu-img", "check", "-q", file)


@case
def windows_snapshots_overlays():
    file = make(fmt="qcow2")
    run("qemu-img", "snapshot", "-c", "before", file)
    run("qemu-io", "-f", "qcow2", "-c", "write -P 99 1M 64k", file)
    with ours("-f", "qcow2", "-l", "before", "-e", "0", file), client() as h:
        assert h.is_read_only()
        equal(bytes(h.pread(1, MiB)), b"\1")
    with ours("-f", "qcow2", "-l", "snapshot.name=before", file), client() as h:
        equal(bytes(h.pread(1, MiB)), b"\1")
    before = open(file, "rb").read()
    with ours("-f", "qcow2", "-s", file), client() as h:
        h.pwrite(b"gone", MiB)
        equal(bytes(h.pread(4, MiB)), b"gone")
    equal(open(file, "rb").read(), before, "--snapshot wrote to the image")
    with ours("-f", "qcow2", "-o", "1M", file), client() as h:
        equal(h.get_size(), 7 * MiB)
        h.pwrite(b"window", 4096)
    with ours("--image-opts", "-r", f"driver=qcow2,file.filename={file}"), client() as h:
        equal(bytes(h.pread(6, MiB + 4096)), b"window")
    with ours("-f", "qcow2", "--cache=writethrough", "--detect-zeroes=unmap", "--discard=unmap", file), client(contexts=["base:allocation"]) as h:
        h.pwrite(bytes(64 << 10), 3 * MiB)
        seen = []
        h.block_status(64 << 10, 3 * MiB, lambda context, offset, entries, error: seen.extend(entries) or 0)
        equal(seen, [64 << 10, 3])


@case
def lives_and_ends_as_told():
    file = make()
    # The last client ends it, a persistent one goes on.
    with server(NBD, "-k", "s.sock", "-f", "raw", file) as process:
        run("nbdinfo", uri())
        process.wait(timeout=10)
        equal(process.returncode, 0)
        assert not os.path.exists("s.sock")
    with ours("-f", "raw", file) as process:
        for _ in range(3):
            run("nbdinfo", uri())
        assert process.poll() is None
    equal(process.returncode, 0, "SIGTERM")
    # In the background
    run(NBD, "--fork", "--pid-file", "pid", "-t", "-k", "s.sock", "-f", "raw", file)
    pid = int(open("pid").read())
    run("nbdinfo", uri())
    os.kill(pid, signal.SIGTERM)
    for _ in range(200):
        if not os.path.exists("pid"):
            break
        time.sleep(0.02)
    assert not os.path.exists("pid") and not os.path.exists("s.sock")
    done = run(NBD, "--fork", "-k", "s.sock", "-f", "raw", "none.img", status=1)
    assert "none.img" in done.stderr, done.stderr
    # A socket handed over
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen(5)
    port = listening.getsockname()[1]

    process = subprocess.Popen(["/bin/sh", "-c", f"LISTEN_PID=$$ LISTEN_FDS=1 exec {NBD} -f raw -r {file}"], pass_fds=[listening.fileno(), 3],
                               preexec_fn=lambda: os.dup2(listening.fileno(), 3))
    listening.close()
    client = nbd.NBD()
    client.connect_tcp("127.0.0.1", str(port))
    client.shutdown()
    equal(process.wait(timeout=10), 0)
    # TCP
    with server(NBD, "-t", "-b", "127.0.0.1", "-p", str(port + 1), "-f", "raw", file,
                ready=lambda: subprocess.run(["nbdinfo", f"nbd://127.0.0.1:{port + 1}"], capture_output=True).returncode == 0):
        pass


@case
def bounds_its_clients():
    file = make()
    with server(NBD, "-t", "-e", "2", "-k", "s.sock", "--handshake-limit=1", "-f", "raw", file) as process:
        before = len(os.listdir(f"/proc/{process.pid}/fd"))
        first, second = nbd.NBD(), nbd.NBD()
        first.connect_unix(os.path.abspath("s.sock"))
        second.connect_unix(os.path.abspath("s.sock"))
        third = []
        waiting = threading.Thread(target=lambda: third.append(run("nbdinfo", uri())))
        waiting.start()
        time.sleep(0.3)
        equal(third, [], "a third client was let in")
        first.shutdown()
        waiting.join(20)
        equal(len(third), 1)
        second.shutdown()
        # Those who say nothing are sent away.
        idle = [socket.socket(socket.AF_UNIX) for _ in range(6)]
        for one in idle:
            one.connect("s.sock")
        run("nbdinfo", uri())
        for one in idle:
            one.close()
        for _ in range(100):
            if len(os.listdir(f"/proc/{process.pid}/fd")) <= before:
                break
            time.sleep(0.1)
        equal(len(os.listdir(f"/proc/{process.pid}/fd")), before, "descriptors")


def session_bytes():
    """What a client sends that negotiates, writes, reads, asks for status and leaves."""
    option = lambda number, data=b"": b"IHAVEOPT" + struct.pack(">II", number, len(data)) + data
    request = lambda flags, command, cookie, offset, length: struct.pack(">IHHQQI", 0x25609513, flags, command, cookie, offset, length)
    counted = lambda text: struct.pack(">I", len(text)) + text
    return (struct.pack(">I", 3) + option(8) + option(10, counted(b"") + struct.pack(">I", 1) + counted(b"base:allocation")) + option(3)
            + option(77, b"what") + option(7, counted(b"") + struct.pack(">HH", 1, 3)) + request(1, 1, 1, 4096, 4096) + bytes(4096)
            + request(0, 0, 2, 0, 65536) + request(0, 7, 3, 0, 1 << 20) + request(0, 6, 4, 8192, 4096) + request(0, 3, 5, 0, 0)
            + request(0, 9, 6, 0, 0) + request(0, 2, 7, 0, 0))


@case
def survives_chaos():
    file = make()
    whole = session_bytes()
    with server(NBD, "-t", "-e", "0", "-k", "s.sock", "-f", "raw", file) as process:
        run("nbdinfo", uri())
        before = len(os.listdir(f"/proc/{process.pid}/fd"))
        cuts = list(range(0, 300)) + list(range(300, len(whole), 61)) + [len(whole)]
        for cut in cuts:
            with socket.socket(socket.AF_UNIX) as s:
                s.connect("s.sock")
                s.sendall(whole[:cut])
        import random
        dice = random.Random(7)
        for _ in range(400):
            with socket.socket(socket.AF_UNIX) as s:
                s.connect("s.sock")
                broken = bytearray(whole)
                for _ in range(dice.randint(1, 6)):
                    broken[dice.randrange(len(broken))] = dice.choice([0, 1, 0x7f, 0x80, 0xff, dice.randrange(256)])
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    s.sendall(broken)
                    if dice.random() < 0.3:
                        s.settimeout(0.05)
                        with contextlib.suppress(socket.timeout):
                            while s.recv(65536):
                                pass
        # One that asks and never reads, and asks for as much as there is.
        with socket.socket(socket.AF_UNIX) as greedy:
            greedy.connect("s.sock")
            greedy.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                greedy.send(whole[:whole.index(struct.pack(">I", 0x25609513))])
                for cookie in range(100_000):
                    greedy.send(struct.pack(">IHHQQI", 0x25609513, 0, 0, cookie, 0, 8 * MiB))
            time.sleep(0.3)
            peak = int(next(l for l in open(f"/proc/{process.pid}/status") if l.startswith("VmRSS")).split()[1])
            assert peak < 200_000, f"{peak} KiB for one greedy client"
            run("nbdinfo", uri())
        run("qemu-io", "-f", "raw", "-c", "read -P 2 3M 1M", uri())
        assert process.poll() is None
        for _ in range(150):
            if len(os.listdir(f"/proc/{process.pid}/fd")) <= before:
                break
            time.sleep(0.1)
        equal(len(os.listdir(f"/proc/{process.pid}/fd")), before, "descriptors")


@case
def explains_wrong_options():
    file = make()
    for arguments, part in (["--sharde=3", file], "did you mean"), (["-e", "x", file], "--shared"), (["--cache=quick", file], "writethrough"), \
            (["--discard=maybe", file], "unmap"), (["-k", "s", "-p", "1", file], "--socket"), ([], "image"), (["a", "b"], "image"), \
            (["--detect-zeroes=unmap", file], "--discard"), (["-o", "9G", "-f", "raw", file], "--offset"), (["--aio=native", file], "threads"), \
            (["-f", "qcow3", file], "qcow3"), (["--tls-creds=t", "-f", "raw", file], "'t'"), (["-l", "x", "-f", "raw", file], "snapshots"), \
            (["--image-opts", "-f", "raw", file], "format"), (["-p", "70000", file], "--port"), (["-L", file], "--list"), \
            (["-s", "-l", "x", file], "--snapshot"), (["-k", "s.sock", "-f", "raw", "-x", "n" * 5000, file], "4096"):
        done = run(NBD, *arguments, status=1)
        assert part in done.stderr and done.stderr.startswith("menura-nbd: "), f"{arguments}: {done.stderr}"
    assert "--persistent" in run(NBD, "--help").stdout
    assert run(NBD, "--version").stdout.startswith("menura-nbd version ")


# --- Our client

@case
def lists_exports():
    file = make(fmt="qcow2")
    for serve in ours, qemu_nbd:
        with serve("-f", "qcow2", "-x", "here", "-D", "some text", "-A", file):
            equal(run(NBD, "-L", "-k", "s.sock").stdout, run("qemu-nbd", "-L", "-k", os.path.abspath("s.sock")).stdout)
    with nbdkit("memory", "1M"):
        equal(run(NBD, "-L", "-k", "s.sock").stdout, run("qemu-nbd", "-L", "-k", os.path.abspath("s.sock")).stdout)
    assert "none.sock" in run(NBD, "-L", "-k", "none.sock", status=1).stderr


def round_trip(target, size=16 * MiB):
    """Our client writes an image to the export, and reads it back."""
    make("from.img", size, writes=["write -P 1 1M 64k", "write -P 2 3M 5M", "write -P 3 15M 1M"])
    img("convert", "-n", "-f", "raw", "-O", "raw", "from.img", target)
    img("compare", "-f", "raw", "-F", "raw", "from.img", target)
    img("convert", "-f", "raw", "-O", "qcow2", target, "back.qcow2")
    same_content("from.img", "back.qcow2", "-f", "raw", "-F", "qcow2")


@case
def uses_nbdkit():
    for arguments in ["memory", "16M"], ["--no-sr", "memory", "16M"], ["--mask-handshake=0", "memory", "16M"], \
            ["--filter=blocksize-policy", "memory", "16M", "blocksize-minimum=4096", "blocksize-error-policy=error"], \
            ["--filter=blocksize-policy", "memory", "16M", "blocksize-maximum=65536", "blocksize-preferred=4096", "blocksize-error-policy=error"], \
            ["--filter=nozero", "memory", "16M"], ["--filter=fua", "memory", "16M", "fuamode=discard"], ["--filter=delay", "memory", "16M", "wdelay=2ms"]:
        with nbdkit(*arguments):
            round_trip(uri())
    # nbdkit's old style refuses to zero, though it says that it can.
    with nbdkit("-o", "pattern", "16M"):
        img("convert", "-f", "raw", "-O", "raw", uri(), "old.img")
        equal(open("old.img", "rb").read(16), struct.pack(">2Q", 0, 8))
    with nbdkit("-e", "x", "memory", "16M"):
        round_trip(f"nbd:unix:{os.path.abspath('s.sock')}:exportname=x")
        round_trip(f'json:{{"driver":"nbd","server":{{"type":"unix","path":"{os.path.abspath("s.sock")}"}}}}')


@case
def reads_odd_sizes_and_blocks():
    with nbdkit("--filter=blocksize-policy", "pattern", "1000001", "blocksize-minimum=1"):
        img("convert", "-f", "raw", "-O", "raw", uri(), "p.img")
        data = open("p.img", "rb").read()
        equal(len(data), (1000001 + 511) // 512 * 512)
        equal(data[:24], struct.pack(">3Q", 0, 8, 16))
    with nbdkit("-r", "pattern", "1M"):
        done = run("qemu-io", "-r", "-f", "raw", "-c", "read 0 1k", uri())
        equal(img("info", "-f", "raw", "--output=json", uri()).stdout.count('"virtual-size": 1048576'), 1)
        assert "read-only" in img("resize", "-f", "raw", uri(), "2M", status=1).stderr.lower()


@case
def tells_errors_of_the_server():
    with nbdkit("--filter=error", "memory", "16M", "error=ENOSPC", "error-pwrite-rate=100%"):
        make("from.img")
        done = img("convert", "-n", "-f", "raw", "-O", "raw", "from.img", uri(), status=1)
        assert "No space left" in done.stderr, done.stderr
    with nbdkit("--filter=error", "pattern", "16M", "error=EIO", "error-pread-rate=100%"):
        assert "Input/output error" in img("convert", "-f", "raw", "-O", "raw", uri(), "x.img", status=1).stderr
        os.path.exists("x.img") and os.unlink("x.img")
    with nbdkit("--filter=error", "memory", "16M", "error=EIO", "error-extents-rate=100%"):
        assert "Input/output error" in img("map", "-f", "raw", uri(), status=1).stderr
    with nbdkit("--filter=truncate", "memory", "1000", "round-up=4096"):
        img("convert", "-f", "raw", "-O", "raw", uri(), "t.img")
        equal(os.path.getsize("t.img"), 4096)
    with nbdkit("--filter=exportname", "memory", "1M", "exportname-strict=true", "exportname=yes"):
        assert "no" in img("info", uri("no"), status=1).stderr
        img("info", "-f", "raw", uri("yes"))
    assert "nobody.sock" in img("info", uri(path="nobody.sock"), status=1).stderr
    for name, part in ("nbd://[::1", "]"), ("nbd+unix:///x", "socket"), ("nbd:host", "port"), ("nbd+tls://x", "nbd+tls"), \
            ('json:{"driver":"nbd","server":{"type":"inet","host":"x"}}', "port"), ('json:{"driver":"nbd"}', "server"), \
            ('json:{"driver":"nbd","sever":{}}', "server"), ("nbd+unix:///%zz?socket=x", "%"):
        assert part in img("info", name, status=1).stderr, (name, img("info", name, status=1).stderr)


@case
def uses_qemu_nbd():
    make("back.img", 16 * MiB, writes=["write -P 1 0 1M"])
    with qemu_nbd("-f", "raw", "--discard=unmap", "back.img"):
        round_trip(uri())
    run("qemu-img", "create", "-q", "-f", "qcow2", "q.qcow2", "16M")
    with qemu_nbd("-f", "qcow2", "--discard=unmap", "q.qcow2"):
        round_trip(uri())
        ours_map = json.loads(img("map", "--output=json", "-f", "raw", uri()).stdout)
        theirs = json.loads(run("qemu-img", "map", "--output=json", "-f", "raw", uri()).stdout)
        equal([(e["start"], e["length"], e["zero"], e["data"]) for e in ours_map], [(e["start"], e["length"], e["zero"], e["data"]) for e in theirs])
    run("qemu-img", "check", "-q", "q.qcow2")
    # A format inside the export.
    make("inner.qcow2", fmt="qcow2")
    with qemu_nbd("-f", "raw", "-r", "inner.qcow2"):
        same_content("inner.qcow2", "inner.qcow2")
        img("check", "-f", "qcow2", uri())
        img("compare", "inner.qcow2", uri())
        equal(json.loads(img("info", "--output=json", uri()).stdout)["format"], "qcow2")


@case
def uses_itself():
    make("mine.img", 16 * MiB, fmt="qcow2", writes=["write -P 1 0 1M"])
    with ours("-f", "qcow2", "-e", "0", "--discard=unmap", "mine.img"):
        round_trip(uri())
    img("check", "mine.img")


@case
def comes_back_to_a_lost_server():
    make("a.img", 64 * MiB, writes=["write -P 1 0 64M"])
    run("qemu-img", "create", "-q", "-f", "raw", "to.img", "64M")
    path = os.path.abspath("s.sock")
    slow = ["nbdkit", "-f", "-U", path, "--filter=delay", "file", "to.img", "wdelay=300ms"]
    options = f'json:{{"driver":"nbd","reconnect-delay":20,"server":{{"type":"unix","path":"{path}"}}}}'
    first = subprocess.Popen(slow)
    while not os.path.exists(path):
        time.sleep(0.01)
    convert = subprocess.Popen([IMG, "convert", "-n", "-f", "raw", "-O", "raw", "a.img", options], stderr=subprocess.PIPE, text=True)
    time.sleep(0.3)
    assert convert.poll() is None, "too quick to be disturbed"
    first.kill()
    first.wait()
    os.unlink(path)
    time.sleep(0.5)
    with server(*slow):
        said = convert.communicate(timeout=60)[1]
        equal(convert.returncode, 0, said)
        assert "lost" in said and "again" in said, said
    same_content("a.img", "to.img", "-f", "raw", "-F", "raw")
    # Without reconnect-delay it fails, soon.
    with server(*slow) as process:
        convert = subprocess.Popen([IMG, "convert", "-n", "-f", "raw", "-O", "raw", "a.img", uri()], stderr=subprocess.PIPE, text=True)
        time.sleep(0.3)
        process.kill()
        said = convert.communicate(timeout=20)[1]
        equal(convert.returncode, 1, said)
    # open-timeout waits for a server that is to come.
    late = threading.Timer(1.0, lambda: started.append(subprocess.Popen(["nbdkit", "-f", "-U", path, "memory", "1M"])))
    started = []
    late.start()
    img("info", "-f", "raw", options.replace('"reconnect-delay":20', '"open-timeout":10'))
    late.join()
    started[0].terminate()
    started[0].wait()


# --- TLS

def make_certificates():
    def tool(*arguments, template):
        with open("t.cfg", "w") as file:
            file.write(template)
        run("certtool", *arguments, "--template", "t.cfg")
    for end in "ca", "server", "client":
        os.makedirs("pki", exist_ok=True)
        with open(f"pki/{end}-key.pem", "w") as file:
            file.write(run("certtool", "--generate-privkey", "--ecc", "--curve", "secp256r1").stdout)
    tool("--generate-self-signed", "--load-privkey", "pki/ca-key.pem", "--outfile", "pki/ca-cert.pem",
         template="cn = Tests\nca\ncert_signing_key\nexpiration_days = 10\n")
    for end, usage in ("server", "tls_www_server"), ("client", "tls_www_client"):
        tool("--generate-certificate", "--load-ca-certificate", "pki/ca-cert.pem", "--load-ca-privkey", "pki/ca-key.pem", "--load-privkey",
             f"pki/{end}-key.pem", "--outfile", f"pki/{end}-cert.pem",
             template=f"cn = localhost\ndns_name = localhost\n{usage}\nsigning_key\nencryption_key\nexpiration_days = 10\n")
    shutil.copytree("pki", "strange")
    with open("strange/ca-key.pem", "w") as file:
        file.write(run("certtool", "--generate-privkey", "--ecc", "--curve", "secp256r1").stdout)
    tool("--generate-self-signed", "--load-privkey", "strange/ca-key.pem", "--outfile", "strange/ca-cert.pem",
         template="cn = Others\nca\ncert_signing_key\nexpiration_days = 10\n")
    os.makedirs("psk")
    with open("psk/keys.psk", "w") as file:
        file.write("alice:" + "ab" * 32 + "\n")


def libnbd_tls(kind):
    def prepare(handle):
        handle.set_tls(nbd.TLS_REQUIRE)
        if kind == "x509":
            handle.set_tls_certificates(os.path.abspath("pki"))
            handle.set_uri_allow_tls(nbd.TLS_ALLOW)
        else:
            handle.set_tls_username("alice")
            handle.set_tls_psk_file(os.path.abspath("psk/keys.psk"))
    return prepare


OBJECTS = {"x509": "tls-creds-x509,id=t,dir={0}/pki,endpoint={1}", "psk": "tls-creds-psk,id=t,dir={0}/psk,username=alice,endpoint={1}",
           "anon": "tls-creds-anon,id=t,endpoint={1}"}


def object_for(kind, endpoint):
    text = OBJECTS[kind].format(os.getcwd(), endpoint)
    return text.replace(",username=alice", "") if endpoint == "server" else text


@case
def speaks_tls():
    make_certificates()
    file = make()
    size = '"virtual-size": 8388608'
    info = ["info", "--output=json", "--image-opts"]
    target = f"driver=raw,file.driver=nbd,file.server.type=unix,file.server.path={os.path.abspath('s.sock')},file.tls-creds=t,file.tls-hostname=localhost"
    for kind in "x509", "psk", "anon":
        with ours("--object", object_for(kind, "server"), "--tls-creds", "t", "-e", "0", "-f", "raw", file):
            for tool in (IMG, "qemu-img"):
                done = run(tool, "info", "--output=json", "--object", object_for(kind, "client"), "--image-opts",
                           target if tool == IMG or kind == "x509" else target.replace(",file.tls-hostname=localhost", ""))
                assert size in done.stdout
            assert "exports available: 1" in run(NBD, "-L", "-k", "s.sock", "--object", object_for(kind, "client"), "--tls-creds", "t",
                                                 "--tls-hostname", "localhost").stdout
            assert "TLS" in img("info", uri(), status=1).stderr, "plain clients are told"
            if kind == "psk":
                with client(prepare=libnbd_tls(kind)) as h:
                    assert h.get_tls_negotiated()
                    equal(bytes(h.pread(MiB, 3 * MiB)), b"\2" * MiB)
                    h.pwrite(b"\2" * MiB, 3 * MiB)
        with qemu_nbd("--object", object_for(kind, "server"), "--tls-creds", "t", "-f", "raw", file):
            img("compare", "--object", object_for(kind, "client"), "--image-opts", target, f"driver=raw,file.filename={file}")
    with server("nbdkit", "-f", "-U", "s.sock", "--tls=require", f"--tls-psk={os.path.abspath('psk/keys.psk')}", "memory", "8M"):
        img("info", "--object", object_for("psk", "client"), "--image-opts", target)
    with server("nbdkit", "-f", "-U", "s.sock", "--tls=require", f"--tls-certificates={os.path.abspath('pki')}", "--tls-verify-peer", "memory", "8M"):
        img("info", "--object", object_for("x509", "client"), "--image-opts", target)
    # Strangers, and wrong names
    with ours("--object", object_for("x509", "server"), "--tls-creds", "t", "-f", "raw", file):
        done = img(*info, "--object", object_for("x509", "client"), target.replace("hostname=localhost", "hostname=elsewhere"), status=1)
        assert "certificate" in done.stderr, done.stderr
        strange = "tls-creds-x509,id=t,dir=strange,endpoint=client"
        assert "strange" in img(*info, "--object", strange, target, status=1).stderr
        assert "certificate" in img(*info, "--object", strange + ",sanity-check=off", target, status=1).stderr
        os.mkdir("bare")
        shutil.copy("pki/ca-cert.pem", "bare")
        img(*info, "--object", "tls-creds-x509,id=t,dir=bare,endpoint=client", target, status=1)
    with ours("--object", object_for("x509", "server") + ",verify-peer=off", "--tls-creds", "t", "-f", "raw", file):
        img(*info, "--object", "tls-creds-x509,id=t,dir=bare,endpoint=client", target)
    # No way back to plain: a server without TLS is refused.
    with ours("-f", "raw", file):
        done = img(*info, "--object", object_for("psk", "client"), target, status=1)
        assert "TLS" in done.stderr, done.stderr
    done = run(NBD, "--object", object_for("psk", "client"), "--tls-creds=t", "-f", "raw", file, status=1)
    assert "endpoint" in done.stderr, done.stderr




# --- A running machine

class Qmp:
    """A machine without a board, and its monitor."""

    def __init__(self, *arguments):
        self.process = subprocess.Popen([SYSTEM, "-machine", "none", "-nodefaults", "-display", "none", "-qmp", "stdio", *arguments],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        machines.append(self.process)
        self.events = []
        assert "QMP" in self.read()
        self("qmp_capabilities")

    def read(self):
        line = self.process.stdout.readline()
        assert line, f"the machine ended: {self.process.wait()}"
        return json.loads(line)

    def __call__(self, command, fails=None, **arguments):
        arguments = {name.replace("_", "-"): value for name, value in arguments.items()}
        self.process.stdin.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.process.stdin.flush()
        while True:
            answer = self.read()
            if "event" in answer:
                self.events.append(answer)
                continue
            if fails is not None:
                assert "error" in answer and fails in answer["error"]["desc"], answer
                return None
            assert "return" in answer, f"{command}: {answer}"
            return answer["return"]

    def human(self, line):
        return self("human-monitor-command", command_line=line)

    def quit(self):
        self("quit")
        equal(self.process.wait(timeout=20), 0)


@case
def exports_from_a_machine():
    file = make(fmt="qcow2")
    vm = Qmp("-blockdev", f"driver=qcow2,node-name=disk,file.driver=file,file.filename={file},discard=unmap",
             "-object", "tls-creds-anon,id=tls0,endpoint=server")
    vm("nbd-server-add", fails="nbd-server-start", device="disk")
    place = {"type": "unix", "data": {"path": os.path.abspath("s.sock")}}
    vm("nbd-server-start", addr=place)
    vm("nbd-server-start", addr=place, fails="already")
    vm("nbd-server-add", device="disk", name="first", description="one")
    vm("nbd-server-add", device="disk", name="first", fails="already")
    vm("nbd-server-add", device="nothing", fails="nothing")
    vm("block-export-add", type="nbd", id="e1", node_name="disk", name="second", writable=True, allocation_depth=True)
    vm("block-export-add", type="nbd", id="e1", node_name="disk", name="third", fails="e1")
    vm("block-export-add", type="nbd", id="e2", node_name="disk", name="third", bitmaps=["none"], fails="none")
    equal([(e["id"], e["node-name"]) for e in vm("query-block-exports")], [("first", "disk"), ("e1", "disk")])
    with client("second", contexts=["qemu:allocation-depth"]) as h, client("first") as reader:
        assert reader.is_read_only()
        h.pwrite(b"written", 3 * MiB)
        equal(bytes(reader.pread(7, 3 * MiB)), b"written")
        vm("block-export-del", id="e1", fails="clients")
        vm("block-export-del", id="e1", mode="hard")
        refused(lambda: (h.pread(1, 0), h.pread(1, 0)))
        equal(bytes(reader.pread(7, 3 * MiB)), b"written")
    equal([e["data"] for e in vm.events], [{"id": "e1"}])
    vm("nbd-server-remove", name="second", fails="second")
    vm("nbd-server-remove", name="first")
    vm("nbd-server-stop")
    vm("nbd-server-stop", fails="not run")
    assert not os.path.exists("s.sock")
    # TCP, TLS, and the monitor for people
    vm("nbd-server-start", addr={"type": "inet", "data": {"host": "127.0.0.1", "port": "0"}}, tls_creds="tls0")
    vm("nbd-server-stop")
    equal(vm.human(f"nbd_server_start unix:{os.path.abspath('s.sock')}"), "")
    equal(vm.human("nbd_server_add -w disk mine"), "")
    run("qemu-io", "-f", "raw", "-c", "write -P 7 0 64k", uri("mine"))
    equal(vm.human("nbd_server_remove mine"), "")
    equal(vm.human("nbd_server_stop"), "")
    # A client of its own server, through the graph: what mirror and backup will do.
    vm("nbd-server-start", addr=place)
    vm("block-export-add", type="nbd", id="e", node_name="disk", name="x")
    vm("blockdev-add", driver="nbd", node_name="far", server={"type": "unix", "path": os.path.abspath("s.sock")}, export="x", read_only=True)
    vm("blockdev-add", driver="nbd", node_name="bad", server={"type": "unix", "path": "/none"}, fails="/none")
    vm("block-export-del", id="e", fails="clients")
    vm("blockdev-del", node_name="far")
    for _ in range(100):
        vm.events.clear()
        try:
            vm("block-export-del", id="e")
            break
        except AssertionError:
            time.sleep(0.05)
    vm("blockdev-del", node_name="disk")
    vm.quit()
    run("qemu-img", "check", "-q", file)
    run("qemu-io", "-f", "qcow2", "-c", "read -P 7 0 64k", file)


print(f"{count - len(failures)} of {count} NBD tests passed" + (f"; failed: {', '.join(failures)}" if failures else ""))
sys.exit(1 if failures else 0)
