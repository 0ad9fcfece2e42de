#!/usr/bin/env python3
"""menura-io against Debian's qemu-io: the same commands on copies of one image give the same lines (but for times) and the same image.

Usage: io.py MENURA_IO MENURA_IMG. Exit status 77 (skipped) where qemu-utils is missing."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile

MENURA, IMG = (os.path.abspath(path) for path in sys.argv[1:3])
if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
    print("qemu-utils is not installed: nothing to compare with")
    sys.exit(77)

failures = []
count = 0


def check(name):
    def wrap(function):
        global count
        count += 1
        with tempfile.TemporaryDirectory(prefix="menura-io-") as folder:
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


def run(program, options, commands, file, stdin=None):
    words = [program, *options, *sum((["-c", c] for c in commands), []), *([file] if file else [])]
    return subprocess.run(words, text=True, input=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=60)


def timeless(text):
    text = re.sub(r"ops; .*ops/sec\)", "ops; TIME", text)
    return re.sub(r"^(\d+,\d+),\d:\d\d:\d\d\.\d\d,[\d.]+,[\d.]+$", r"\1,TIME", text, flags=re.M)


def image(fmt="qcow2", *options, size="4M", name="a"):
    subprocess.run(["qemu-img", "create", "-q", "-f", fmt, *options, name, size], check=True)
    return name


def both(commands, fmt="qcow2", options=(), file="a", content=True):
    """The same from both programs, each on its own copy."""
    shutil.copy(file, "ours")
    shutil.copy(file, "theirs")
    mine = run(MENURA, ["-f", fmt, *options], commands, "ours")
    theirs = run("qemu-io", ["-f", fmt, *options], commands, "theirs")
    assert timeless(mine.stdout) == timeless(theirs.stdout), f"ours:\n{timeless(mine.stdout)}{mine.stderr}\ntheirs:\n{timeless(theirs.stdout)}{theirs.stderr}"
    assert mine.returncode == theirs.returncode, f"status {mine.returncode}, theirs {theirs.returncode}\n{mine.stderr}\n{theirs.stderr}"
    if content:
        subprocess.run(["qemu-img", "compare", "-q", "-f", fmt, "-F", fmt, "ours", "theirs"], check=True)
        if fmt == "qcow2":
            subprocess.run(["qemu-img", "check", "-q", "ours"], check=True)
    return mine


for fmt in ("raw", "qcow2"):
    @check(f"transfers over {fmt}")
    def _():
        image(fmt)
        both(["write -P 1 0 64k", "write -C 1M 100", "write -q 0 512", "read -v 0 40", "read -C 0 1M", "read -P 2 0 512", "read -P 205 0 512",
              "read -P 3 -s 10 -l 5 0 512", "read -P 205 -s 10 -l 5 0 512", "writev -P 5 0 512 512", "readv -v 0 16 16", "write -z 4k 4k",
              "write -z -u 1M 64k", "write -f -P 9 2M 3k", "read -P 9 2M 3k", "read 0x200 0x10", "flush", "w -P 0x10 3M 1.5k", "r -P 16 3M 1536",
              "read -p 0 512", "write -p 0 512"], fmt)

    @check(f"asynchronous transfers over {fmt}")
    def _():
        image(fmt)
        both(["aio_write 0 4k 4k", "aio_flush", "aio_read -P 205 0 8k", "aio_flush", "aio_read -P 1 0 8k", "aio_flush", "aio_write -z -u 64k 64k",
              "aio_flush", "aio_write -C 0 4k", "aio_flush", "aio_write -q -P 3 100k 300k", "aio_flush", "aio_read -v 100k 20", "aio_flush"], fmt)

    @check(f"sizes and maps of {fmt}")
    def _():
        image(fmt)
        both(["length", "write 0 128k", "write 1M 64k", "map", "alloc 0", "alloc 0 128k", "alloc 64k 64k", "discard 0 64k", "discard -C 0 64k",
              "discard -q 0 64k", "truncate 5M", "length", "t 6M", "l", "truncate 3M", "length"], fmt)

    @check(f"bad input on {fmt}: the same status, and one line")
    def _():
        image(fmt)
        for command in ("read 4M 512", "read 100", "read a b", "read -x 0 1", "foo", "write -s nofile 0 512", "write -z -P 1 0 512", "write -u 0 512",
                        "write -n 0 512", "read 0 3G", "write -P 300 0 1", "flush x", "truncate -m foo 6M", "open a", "sigraise foo",
                        "read -s 1 0 512", "reopen -r -w", "reopen -o foo=1", "resume A"):
            done = run(MENURA, ["-f", fmt], [command], "a")
            theirs = run("qemu-io", ["-f", fmt], [command], "a")
            assert done.returncode == theirs.returncode == 1, (command, done.returncode, theirs.returncode)
            assert (done.stdout + done.stderr).count("\n") == 1, (command, done.stdout, done.stderr)


@check("compressed writes, VM state, info")
def _():
    image("qcow2")
    both(["write -c -P 7 64k 64k", "read -P 7 64k 64k", "write -b -P 3 0 512", "read -b -P 3 0 512", "info"])


@check("no more than a hole: -n")
def _():
    image("qcow2")
    both(["write 0 1M", "write -z -n 0 128k", "write -z -n -u 512k 128k", "map"])


@check("a pattern from a file")
def _():
    image("qcow2")
    with open("pattern", "w") as f:
        f.write("abc\n")
    both(["write -s pattern 0 10", "read -v 0 10"])


@check("open, close, reopen")
def _():
    image("qcow2")
    for program in (MENURA, "qemu-io"):
        done = run(program, [], ["open -o driver=qcow2 a", "write -P 1 0 4k", "reopen -r", "write -P 2 0 4k", "reopen -w", "write -P 3 4k 4k",
                                 "reopen -o lazy-refcounts=on", "write -P 4 8k 4k", "reopen -c none", "write -P 5 12k 4k", "reopen -c writethrough",
                                 "read -P 1 0 4k", "read -P 3 4k 4k", "read -P 4 8k 4k", "read -P 5 12k 4k", "close", "length"], None)
        assert done.stdout.count("wrote 4096/4096") == 4 and done.stdout.count("read 4096/4096") == 4, (program, done.stdout, done.stderr)
        assert "verification" not in done.stdout, done.stdout
        subprocess.run(["qemu-img", "check", "-q", "a"], check=True)


@check("snapshot=on and copy-on-read")
def _():
    image("raw", name="base")
    run("qemu-io", ["-f", "raw"], ["write -P 1 0 4M"], "base")
    image("qcow2", "-b", "base", "-F", "raw", name="a")
    both(["write -P 2 0 64k", "read -P 2 0 64k"], options=["-s"])
    done = run(MENURA, [], ["read -P 1 0 64k"], "ours")
    assert "verification" not in done.stdout + done.stderr
    both(["read -P 1 100k 1k", "alloc 64k 64k", "alloc 128k 64k", "write -P 4 1M 64k", "read -P 4 1M 64k"], options=["-C"], content=True)


@check("each way to the host")
def _():
    image("qcow2")
    for options in ([], ["-i", "threads"], ["-i", "io_uring"], ["-n"], ["-n", "-k"], ["-n", "-m"], ["-t", "writethrough"], ["-t", "directsync"],
                    ["-d", "unmap"], ["-r"], ["-U", "-r"]):
        commands = ["read -P 0 0 64k"] if "-r" in options else ["write -P 6 1k 100k", "aio_write -P 7 0 1M", "aio_flush", "read -P 7 0 1M", "discard 0 64k"]
        both(commands, options=options)
    assert run(MENURA, ["-i", "native"], ["length"], "a").returncode == 1
    assert run(MENURA, ["-r"], ["write 0 512"], "a").returncode == 1
    strace = shutil.which("strace")
    if strace:
        for mode, wanted in (("threads", "pwrite64("), ("io_uring", "io_uring_enter(")):
            calls = subprocess.run([strace, "-f", "-e", "trace=pwrite64,io_uring_enter", MENURA, "-f", "raw", "-i", mode, "-c", "aio_write 0 64k", "-c", "aio_flush", "ours"],
                                   text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=True).stderr
            assert wanted in calls, (mode, calls)


@check("breakpoints: a request stops, others pass, it goes on")
def _():
    image("qcow2")
    with open("rules", "w") as f:
        f.write("")
    done = run(MENURA, [], ["open -o driver=qcow2 blkdebug::a", "break write_aio A", "aio_write -P 1 0 64k", "wait_break A", "write -P 2 1M 64k",
                            "read -P 2 1M 64k", "resume A", "aio_flush", "read -P 1 0 64k", "read -P 2 1M 64k"], None)
    theirs = run("qemu-io", [], ["open -o driver=qcow2 blkdebug::a", "break write_aio A", "aio_write -P 1 0 64k", "wait_break A", "write -P 2 1M 64k",
                                 "read -P 1 1M 0", "resume A", "aio_flush", "read -P 1 0 64k", "read -P 2 1M 64k"], None)
    assert theirs.returncode == 0, theirs.stderr
    assert done.returncode == 0 and "verification" not in done.stdout, done.stdout + done.stderr


@check("blkdebug's rules: errors where they say")
def _():
    image("qcow2")
    with open("rules", "w") as f:
        f.write('[inject-error]\nevent = "write_aio"\nerrno = "28"\nonce = "on"\n')
    shutil.copy("a", "b")
    for program, file in ((MENURA, "a"), ("qemu-io", "b")):
        done = run(program, [], ["open -o driver=qcow2 blkdebug:rules:" + file, "write -P 1 0 64k", "write -P 2 0 64k", "read -P 2 0 64k"], None)
        assert done.returncode == 1 and "write failed: " in done.stdout and "No space left" in done.stdout, (program, done.stdout, done.stderr)
        assert done.stdout.count("wrote 65536/65536") == 1 and "verification" not in done.stdout, (program, done.stdout)
    subprocess.run(["qemu-img", "check", "-q", "a"], check=True)


@check("throttle-group and image options")
def _():
    image("raw")
    done = run(MENURA, ["--object", "throttle-group,id=g,limits.bps-total=1048576", "--image-opts"],
               ["write 0 512k", "write 512k 512k"], "driver=throttle,throttle-group=g,file.driver=file,file.filename=a")
    assert done.returncode == 0 and re.search(r"00\.[3-9]\d sec|01", done.stdout), done.stdout + done.stderr


@check("signals end it; what was said is seen")
def _():
    image("qcow2")
    done = run(MENURA, [], ["write 0 64k", "sigraise 9", "write 0 64k"], "a")
    assert done.returncode == -signal.SIGKILL and done.stdout.count("wrote") == 1, (done.returncode, done.stdout)
    assert run(MENURA, [], ["abort"], "a").returncode == -signal.SIGABRT


@check("conversation on standard input; quit; help")
def _():
    image("qcow2")
    done = run(MENURA, [], [], "a", stdin="   length   \n\nread 0 512\nq\nlength\n")
    assert done.returncode == 0 and done.stdout.count("4 MiB\n") == 1 and "read 512/512 bytes at offset 0" in done.stdout, done.stdout
    assert run(MENURA, [], ["quit", "length"], "a").stdout == ""
    text = run(MENURA, [], ["help", "help read"], None).stdout
    for command in ("aio_flush", "wait_break", "truncate", "-P"):
        assert command in text, command
    assert run(MENURA, ["--version"], [], None).stdout.startswith("menura-io version ")
    assert run(MENURA, ["-f", "foo"], [], "a").returncode == 1


print(f"{count - len(failures)} of {count} passed")
sys.exit(1 if failures else 0)
