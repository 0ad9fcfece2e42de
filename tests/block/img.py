#!/usr/bin/env python3
"""menura-img against Debian's qemu-img and qemu-io, both ways: what one makes, the other checks, compares, maps and tells about.

Usage: img.py MENURA_IMG. Exit status 77 (skipped) where qemu-utils is missing."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

MENURA = os.path.abspath(sys.argv[1])
if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
    print("qemu-utils is not installed: nothing to compare with")
    sys.exit(77)

failures = []
count = 0


def run(program, *arguments, status=0):
    done = subprocess.run([program, *arguments], text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120)
    if status is not None and done.returncode != status:
        raise AssertionError(f"{program} {' '.join(arguments)}: status {done.returncode}, not {status}\n{done.stdout}{done.stderr}")
    return done


def ours(*arguments, status=0):
    return run(MENURA, *arguments, status=status)


def qemu(*arguments, status=0):
    return run("qemu-img", *arguments, status=status)


def io(file, *commands, fmt="qcow2"):
    return run("qemu-io", "-f", fmt, *sum((["-c", c] for c in commands), []), file)


def sound(file):
    """QEMU finds nothing wrong, and neither do we."""
    qemu("check", "-q", "-f", "qcow2", file)
    ours("check", "-q", "-f", "qcow2", file)


def same(a, b):
    qemu("compare", "-q", a, b)
    ours("compare", "-q", a, b)


def check(name):
    def wrap(function):
        global count
        count += 1
        with tempfile.TemporaryDirectory(prefix="menura-img-") as folder:
            before = os.getcwd()
            os.chdir(folder)
            try:
                function()
            except Exception as error:  # every case is told, not only the first
                failures.append(name)
                print(f"FAILED {name}: {error}", flush=True)
            finally:
                os.chdir(before)
        return function
    return wrap


CREATIONS = ["", "compat=0.10", "cluster_size=512", "cluster_size=2M", "cluster_size=4k,refcount_bits=1", "refcount_bits=2", "refcount_bits=8",
             "refcount_bits=32", "refcount_bits=64", "lazy_refcounts=on", "extended_l2=on", "extended_l2=on,cluster_size=16k",
             "preallocation=metadata", "preallocation=falloc", "preallocation=full", "compression_type=zstd", "data_file=d.raw",
             "data_file=d.raw,data_file_raw=on", "cluster_size=512,compat=0.10"]
WRITES = ["write -P 1 0 64k", "write -P 2 100k 7k", "write -P 3 1M 1M", "write -P 4 5M 512", "write -z 1100k 200k", "write -P 5 1200k 3k",
          "write -z -u 0 64k", "write -P 6 20M 64k", "write -z 20M 1k"]


def source(name="s.raw", writes=WRITES):
    qemu("create", "-q", "-f", "raw", name, "24M")
    io(name, *[w.replace(" -u", "") for w in writes], fmt="raw")
    return name


def info(program, file):
    return json.loads(run(program, "info", "--output=json", file).stdout)


for options in CREATIONS:
    o = ["-o", options] if options else []

    @check(f"we create ({options}), QEMU writes, we read")
    def _():
        source()
        ours("create", "-q", "-f", "qcow2", *o, "a.qcow2", "24M")
        sound("a.qcow2")
        mine = info(MENURA, "a.qcow2")
        theirs = info("qemu-img", "a.qcow2")
        assert mine == theirs, f"info differs:\n{mine}\n{theirs}"
        io("a.qcow2", *WRITES)
        sound("a.qcow2")
        same("s.raw", "a.qcow2")
        ours("convert", "-O", "raw", "a.qcow2", "b.raw")
        same("s.raw", "b.raw")

    @check(f"QEMU creates ({options}), we convert into it, QEMU reads")
    def _():
        source()
        qemu("create", "-q", "-f", "qcow2", *o, "a.qcow2", "24M")
        sound("a.qcow2")
        ours("convert", "-n", "-O", "qcow2", "s.raw", "a.qcow2")
        sound("a.qcow2")
        same("s.raw", "a.qcow2")
        assert info(MENURA, "a.qcow2") == info("qemu-img", "a.qcow2")
        mine = json.loads(ours("map", "--output=json", "a.qcow2").stdout)
        theirs = json.loads(qemu("map", "--output=json", "a.qcow2").stdout)
        assert mine == theirs, f"map differs:\n{mine}\n{theirs}"
        ours("resize", "-q", "a.qcow2", "+1M")
        sound("a.qcow2")
        io("a.qcow2", "write -P 9 24M 1M")
        sound("a.qcow2")

    @check(f"measure ({options})")
    def _():
        if "data_file" in options:
            return
        source()
        for more in (["--size", "10G"], ["s.raw"]):
            mine = json.loads(ours("measure", "--output=json", "-O", "qcow2", *o, *more).stdout)
            theirs = json.loads(qemu("measure", "--output=json", "-O", "qcow2", *o, *more).stdout)
            theirs.pop("bitmaps", None)
            assert mine == theirs, f"{more}: {mine} {theirs}"


for kind in ("zlib", "zstd"):
    @check(f"compression by {kind}, both ways")
    def _():
        source()
        with open("s.raw", "r+b") as f:
            f.seek(8 << 20)
            f.write(open("/bin/ls", "rb").read())
        ours("convert", "-c", "-O", "qcow2", "-o", f"compression_type={kind}", "s.raw", "a.qcow2")
        sound("a.qcow2")
        same("s.raw", "a.qcow2")
        qemu("convert", "-c", "-O", "qcow2", "-o", f"compression_type={kind}", "s.raw", "b.qcow2")
        sound("b.qcow2")
        same("s.raw", "b.qcow2")
        assert abs(os.path.getsize("a.qcow2") - os.path.getsize("b.qcow2")) <= 2 * 65536
        io("a.qcow2", "write -P 7 8M 100k", "discard 1M 1M")
        sound("a.qcow2")
        ours("convert", "-W", "-m", "16", "-O", "qcow2", "b.qcow2", "c.qcow2")
        same("b.qcow2", "c.qcow2")


@check("backing chains: create, commit, rebase")
def _():
    source()
    ours("create", "-q", "-f", "qcow2", "-b", "s.raw", "-F", "raw", "a.qcow2")
    io("a.qcow2", "write -P 8 0 1k", "write -P 8 3M 100k", "write -z 1M 128k")
    ours("create", "-q", "-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", "b.qcow2")
    io("b.qcow2", "write -P 9 3M 4k")
    for file in ("a.qcow2", "b.qcow2"):
        sound(file)
        assert info(MENURA, file) == info("qemu-img", file)
        assert json.loads(ours("map", "--output=json", file).stdout) == json.loads(qemu("map", "--output=json", file).stdout)
        assert ours("map", file).stdout == qemu("map", file).stdout
    qemu("convert", "-O", "raw", "b.qcow2", "flat.raw")
    same("flat.raw", "b.qcow2")
    ours("rebase", "-b", "s.raw", "-F", "raw", "b.qcow2")
    sound("b.qcow2")
    same("flat.raw", "b.qcow2")
    assert info("qemu-img", "b.qcow2")["backing-filename"] == "s.raw"
    ours("commit", "-q", "b.qcow2")
    sound("b.qcow2")
    same("flat.raw", "s.raw")
    same("flat.raw", "b.qcow2")
    ours("rebase", "-b", "", "b.qcow2")
    assert "backing-filename" not in info("qemu-img", "b.qcow2")
    ours("rebase", "-u", "-b", "gone.raw", "-F", "raw", "b.qcow2")
    assert info("qemu-img", "b.qcow2")["backing-filename"] == "gone.raw"


@check("internal snapshots, both ways")
def _():
    for options in ("", "compat=0.10", "refcount_bits=64,extended_l2=on", "cluster_size=512"):
        source()
        ours("convert", "-O", "qcow2", *(["-o", options] if options else []), "s.raw", "a.qcow2")
        ours("snapshot", "-c", "one", "a.qcow2")
        sound("a.qcow2")
        io("a.qcow2", "write -P 11 0 3M")
        sound("a.qcow2")
        qemu("snapshot", "-c", "two", "a.qcow2")
        qemu("convert", "-O", "raw", "a.qcow2", "two.raw")
        mine, theirs = ours("snapshot", "-l", "a.qcow2").stdout, qemu("snapshot", "-l", "a.qcow2").stdout
        assert mine == theirs, mine + theirs
        assert info(MENURA, "a.qcow2") == info("qemu-img", "a.qcow2")
        ours("convert", "-l", "one", "-O", "raw", "a.qcow2", "one.raw")
        same("one.raw", "s.raw")
        ours("snapshot", "-a", "one", "a.qcow2")
        sound("a.qcow2")
        same("a.qcow2", "s.raw")
        ours("snapshot", "-a", "two", "a.qcow2")
        same("a.qcow2", "two.raw")
        ours("snapshot", "-d", "one", "a.qcow2")
        sound("a.qcow2")
        same("a.qcow2", "two.raw")
        ours("snapshot", "-d", "two", "a.qcow2")
        sound("a.qcow2")
        same("a.qcow2", "two.raw")


@check("bitmaps, both ways")
def _():
    ours("create", "-q", "-f", "qcow2", "a.qcow2", "10M")
    ours("bitmap", "--add", "a.qcow2", "b0")
    qemu("bitmap", "--add", "-g", "4k", "a.qcow2", "b1")
    sound("a.qcow2")
    assert info(MENURA, "a.qcow2") == info("qemu-img", "a.qcow2")
    io("a.qcow2", "write -P 1 1M 64k")
    ours("bitmap", "--merge", "b1", "a.qcow2", "b0")
    ours("bitmap", "--disable", "a.qcow2", "b1")
    sound("a.qcow2")
    assert info(MENURA, "a.qcow2") == info("qemu-img", "a.qcow2")
    qemu("bitmap", "--clear", "a.qcow2", "b0")
    ours("bitmap", "--remove", "a.qcow2", "b1")
    sound("a.qcow2")
    assert info(MENURA, "a.qcow2") == info("qemu-img", "a.qcow2")


@check("repair of leaks and of counts that are too low")
def _():
    source()
    qemu("convert", "-O", "qcow2", "s.raw", "a.qcow2")
    with open("a.qcow2", "r+b") as f:
        f.seek(0x20000 + 2 * 8)  # a cluster that is used
        f.write(b"\0\0")
        f.seek(0x20000 + 2 * 500)  # one that is not
        f.write(b"\0\7")
    theirs = json.loads(qemu("check", "--output=json", "a.qcow2", status=None).stdout)
    mine = json.loads(ours("check", "--output=json", "a.qcow2", status=2).stdout)
    assert mine["corruptions"] > 0
    for key in ("leaks", "check-errors", "total-clusters", "allocated-clusters"):
        assert mine.get(key) == theirs.get(key), (key, mine, theirs)
    ours("check", "-r", "all", "a.qcow2")
    sound("a.qcow2")
    same("s.raw", "a.qcow2")


@check("human texts of info, check, create")
def _():
    source()
    assert ours("create", "-f", "qcow2", "-b", "s.raw", "-F", "raw", "a.qcow2").stdout == qemu("create", "-f", "qcow2", "-b", "s.raw", "-F", "raw", "a.qcow2").stdout
    assert ours("create", "-f", "raw", "x.raw", "1M").stdout == qemu("create", "-f", "raw", "x.raw", "1M").stdout
    io("a.qcow2", "write 0 1M")
    for command in (["info"], ["check"], ["info", "--backing-chain"]):
        mine, theirs = ours(*command, "a.qcow2").stdout, qemu(*command, "a.qcow2").stdout
        if command[0] == "info" and "--backing-chain" in command:
            continue  # QEMU 7.2 repeats the top image's format there
        assert mine == theirs, f"{command}:\n{mine}\n{theirs}"
    assert ours("info", "s.raw").stdout == qemu("info", "s.raw").stdout


@check("dd, compare, amend, image options")
def _():
    source()
    ours("dd", "if=s.raw", "of=part.raw", "bs=1M", "skip=1", "count=2")
    qemu("dd", "if=s.raw", "of=part2.raw", "bs=1M", "skip=1", "count=2")
    same("part.raw", "part2.raw")
    assert ours("compare", "s.raw", "part.raw", status=1).stdout == qemu("compare", "s.raw", "part.raw", status=1).stdout
    ours("convert", "-O", "qcow2", "-o", "compat=0.10", "s.raw", "a.qcow2")
    ours("amend", "-o", "compat=1.1,lazy_refcounts=on", "a.qcow2")
    sound("a.qcow2")
    assert info(MENURA, "a.qcow2") == info("qemu-img", "a.qcow2")
    text = ours("info", "--image-opts", "driver=qcow2,file.driver=file,file.filename=a.qcow2", "--output=json").stdout
    assert json.loads(text)["format"] == "qcow2"
    assert json.loads(ours("info", "--output=json", 'json:{"driver":"qcow2","file.filename":"a.qcow2","file.driver":"file"}').stdout)["virtual-size"] == 24 << 20


@check("bad input: one line, status 1")
def _():
    source()
    for arguments in (["info", "gone"], ["info"], ["create", "-f", "qcow3", "x", "1M"], ["create", "-f", "qcow2", "x"], ["convert", "s.raw"],
                      ["create", "-f", "qcow2", "-o", "cluster_size=3k", "x", "1M"], ["create", "-f", "qcow2", "-o", "clustersize=4k", "x", "1M"],
                      ["resize", "s.raw", "1x"], ["frobnicate"], ["info", "--outputt=json", "s.raw"], ["convert", "-m", "99", "s.raw", "y"],
                      ["snapshot", "-c", "x", "s.raw"], ["check", "-r", "some", "s.raw"], ["info", 'json:{"driver":"nope"}']):
        done = ours(*arguments, status=1)
        assert done.stderr.startswith("menura-img: ") and done.stderr.count("\n") == 1, (arguments, done.stderr)
    assert "did you mean 'cluster_size'" in ours("create", "-f", "qcow2", "-o", "clustersize=4k", "x", "1M", status=1).stderr
    assert "did you mean 'qcow2'" in ours("create", "-f", "qcow3", "x", "1M", status=1).stderr


@check("hostile headers are refused: loops, json: names")
def _():
    qemu("create", "-q", "-f", "qcow2", "-u", "-b", "b.qcow2", "-F", "qcow2", "a.qcow2", "1M")
    qemu("create", "-q", "-f", "qcow2", "-u", "-b", "a.qcow2", "-F", "qcow2", "b.qcow2", "1M")
    assert "loop" in ours("map", "a.qcow2", status=1).stderr
    qemu("create", "-q", "-f", "qcow2", "-u", "-b", 'json:{"driver":"null-co"}', "-F", "raw", "c.qcow2", "1M")
    assert "not followed" in ours("map", "c.qcow2", status=1).stderr


@check("two programs: the holder is named")
def _():
    ours("create", "-q", "-f", "qcow2", "a.qcow2", "1M")
    holder = subprocess.Popen(["qemu-io", "a.qcow2"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    try:
        time.sleep(0.5)
        text = ours("resize", "a.qcow2", "2M", status=1).stderr
        assert f"PID {holder.pid}" in text and "qemu-io" in text, text
        ours("info", "-U", "a.qcow2")
    finally:
        holder.communicate(b"quit\n")


@check("copy offloading, rates, bench through each way, and options that need others")
def _():
    source()
    ours("convert", "-O", "qcow2", "s.raw", "a.qcow2")
    calls = subprocess.run(["strace", "-f", "-e", "trace=copy_file_range", MENURA, "convert", "-C", "-O", "raw", "a.qcow2", "b.raw"], text=True,
                           stderr=subprocess.PIPE, check=True).stderr if shutil.which("strace") else None
    if calls is None:
        ours("convert", "-C", "-O", "raw", "a.qcow2", "b.raw")
    else:
        assert calls.count("copy_file_range(") > 2, calls
    same("b.raw", "s.raw")
    ours("snapshot", "-c", "one", "a.qcow2")
    io("a.qcow2", "write 10M 4M")
    needed = lambda *more: json.loads(ours("measure", "--output=json", "-O", "qcow2", *more, "a.qcow2").stdout)["required"]
    assert needed("-l", "one") == json.loads(qemu("measure", "--output=json", "-O", "qcow2", "-l", "one", "a.qcow2").stdout)["required"]
    assert needed() == needed("-l", "one") + (4 << 20)
    ours("create", "-q", "-f", "qcow2", "-b", "a.qcow2", "-F", "qcow2", "top.qcow2")
    io("top.qcow2", "write -P 3 0 4M")
    begin = time.time()
    ours("commit", "-q", "-r", "2M", "top.qcow2")
    assert time.time() - begin > 0.8
    for how in ([], ["-i", "threads"], ["-i", "io_uring"], ["-n", "-t", "none"], ["-w", "--flush-interval=64"], ["-w", "--flush-interval=64", "--no-drain"]):
        text = ours("bench", "-c", "1000", *how, "a.qcow2").stdout
        assert "Run completed in" in text, text
    assert "cache.direct" in ours("bench", "-n", "a.qcow2", status=1).stderr
    assert "--bitmaps" in ours("convert", "--skip-broken-bitmaps", "s.raw", "x.raw", status=1).stderr
    assert "no option 'drop-cache'" in ours("info", "--image-opts", "driver=file,filename=s.raw,drop-cache=on", status=1).stderr
    assert "no option 'cache-clean-interval'" in ours("info", "--image-opts", "driver=qcow2,cache-clean-interval=1,file.driver=file,file.filename=a.qcow2",
                                                    status=1).stderr


@check("an entry that leads into metadata is not written through, unless asked for")
def _():
    for mode, refused in (("none", False), ("constant", False), ("cached", True), ("all", True)):
        qemu("create", "-q", "-f", "qcow2", "a.qcow2", "4M")
        io("a.qcow2", "write 0 64k")
        with open("a.qcow2", "r+b") as f:
            f.seek(0x40000)
            f.write((1 << 63 | 0x40000).to_bytes(8, "big"))  # guest cluster 0 lies in the L2 table itself
        done = run(MENURA, "bench", "-w", "-c", "1", "--image-opts", f"driver=qcow2,overlap-check={mode},file.driver=file,file.filename=a.qcow2", status=None)
        assert (done.returncode != 0) == refused, (mode, done.stderr)


@check("broken bitmaps are left out when told so")
def _():
    ours("create", "-q", "-f", "qcow2", "a.qcow2", "10M")
    ours("bitmap", "--add", "a.qcow2", "b0")
    holder = subprocess.Popen(["qemu-io", "a.qcow2"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    holder.stdin.write(b"write 0 64k\n")
    holder.stdin.flush()
    time.sleep(0.5)
    holder.kill()
    holder.wait()
    ours("bitmap", "--add", "a.qcow2", "b1")
    assert "b0" in ours("convert", "--bitmaps", "-O", "qcow2", "a.qcow2", "c.qcow2", status=1).stderr
    ours("convert", "--bitmaps", "--skip-broken-bitmaps", "-O", "qcow2", "a.qcow2", "c.qcow2")
    assert [b["name"] for b in info(MENURA, "c.qcow2")["format-specific"]["data"]["bitmaps"]] == ["b1"]


@check("Ctrl-C in a convert leaves no file")
def _():
    qemu("create", "-q", "-f", "raw", "big.raw", "1G")
    process = subprocess.Popen([MENURA, "convert", "-S", "0", "-r", "2M", "-O", "qcow2", "big.raw", "out.qcow2"], stderr=subprocess.PIPE)
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 1 and not os.path.exists("out.qcow2")


print(f"{count - len(failures)} of {count} passed")
sys.exit(1 if failures else 0)
