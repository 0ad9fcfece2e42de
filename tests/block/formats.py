#!/usr/bin/env python3
"""Image formats beside qcow2: menura-img against Debian's qemu-img and qemu-io, both ways, and images that were damaged on purpose.

Usage: formats.py MENURA_IMG [FORMAT...]. Exit status 77 (skipped) where qemu-utils is missing."""

import base64
import json
import os
import random
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import zlib

MENURA = os.path.abspath(sys.argv[1])
WANTED = sys.argv[2:]
FAST = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # what is judged is content, not disks
if not shutil.which("qemu-img") or not shutil.which("qemu-io"):
    print("qemu-utils is not installed: nothing to compare with")
    sys.exit(77)

# What each is made with, and whether QEMU's tool checks it.
FORMATS = {
    "vdi": {"options": ["", "static=on"], "checks": True},
    "parallels": {"options": ["", "cluster_size=64k"], "checks": True},
    "vpc": {"options": ["", "subformat=fixed", "force_size=on", "subformat=fixed,force_size=on"], "checks": False},
    "qed": {"options": ["", "cluster_size=4k,table_size=2", "cluster_size=1M"], "checks": True, "backing": True},
    "qcow": {"options": [""], "checks": False, "backing": True, "compresses": True},
    "vmdk": {"options": ["", "subformat=monolithicFlat", "subformat=twoGbMaxExtentSparse", "subformat=twoGbMaxExtentFlat", "zeroed_grain=on",
                         "adapter_type=lsilogic,compat6=on"], "checks": True},
    "vhdx": {"options": ["", "block_size=1M", "subformat=fixed", "block_state_zero=off"], "checks": True},
}
WRITES = ["write -P 1 0 64k", "write -P 2 100k 7k", "write -P 3 1M 1M", "write -P 4 5M 512", "write -z 1100k 200k", "write -P 5 1200k 3k",
          "write -P 6 20M 64k", "write -z 20M 1k", "write -P 7 23M 1M"]
failures = []
count = 0


def run(program, *arguments, status=0, **more):
    done = subprocess.run([program, *arguments], text=True, errors="replace", stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=120, **more)
    if status is not None and done.returncode != status:
        raise AssertionError(f"{os.path.basename(program)} {' '.join(arguments)}: status {done.returncode}, not {status}\n{done.stdout}{done.stderr}")
    return done


def patiently(program, *arguments):
    """QEMU cannot make LUKS keys while the host is busy, and says so: it is asked again."""
    for _ in range(20):
        done = run(program, *arguments, status=None)
        if "accurate CPU usage" not in done.stderr:
            break
    assert done.returncode == 0, f"{program} {arguments}: {done.stderr}"
    return done


def ours(*arguments, status=0):
    return run(MENURA, *arguments, status=status)


def qemu(*arguments, status=0):
    return run("qemu-img", *arguments, status=status)


def io(fmt, file, *commands):
    return run("qemu-io", "-f", fmt, *sum((["-c", c] for c in commands), []), file)


def sound(fmt, file):
    if FORMATS[fmt]["checks"]:
        qemu("check", "-q", "-f", fmt, file)
    done = ours("check", "-q", "-f", fmt, file, status=None)
    assert done.returncode in (0, 63), done.stderr


def same(fmt, file, raw="s.raw"):
    qemu("compare", "-q", "-f", "raw", "-F", fmt, raw, file)
    ours("compare", "-q", "-f", "raw", "-F", fmt, raw, file)


def equal(mine, theirs, what):
    assert mine == theirs, f"{what} differs:\n{mine}\n{theirs}"


def pieces(told):
    """Where each answer ends, so that two maps can be compared whatever their pieces are."""
    return {border for e in told for border in (e["start"], e["start"] + e["length"])}


def same_map(fmt, file):
    """Ours may know more holes than QEMU's, which does not look for them below every format: then both read as zeroes."""
    mine, theirs = [json.loads(run(tool, "map", "-f", fmt, "--output=json", file).stdout) for tool in (MENURA, "qemu-img")]
    borders = sorted(pieces(mine) | pieces(theirs))
    for begin in borders[:-1]:
        m, t = [next((e for e in told if e["start"] <= begin < e["start"] + e["length"]), None) for told in (mine, theirs)]
        assert m and t, f"map of {file}: at {begin} only one tells:\n{mine}\n{theirs}"
        place = [e["offset"] + begin - e["start"] if "offset" in e else None for e in (m, t)]
        wrong = m["present"] != t["present"] or m["depth"] != t["depth"] or m["data"] > t["data"] or m["zero"] < t["zero"]
        wrong = wrong or None not in place and place[0] != place[1]
        assert not wrong, f"map of {file} at {begin}: {m}, not {t}"


def tell_the_same(fmt, file):
    equal(*[json.loads(run(tool, "info", "-f", fmt, "--output=json", file).stdout) for tool in (MENURA, "qemu-img")], f"info of {file}")
    same_map(fmt, file)
    equal(ours("info", "-f", fmt, file).stdout, qemu("info", "-f", fmt, file).stdout, "info for people")


def source():
    qemu("create", "-q", "-f", "raw", "s.raw", "24M")
    io("raw", "s.raw", *WRITES)
    with open("s.raw", "r+b") as file:
        file.seek(8 << 20)
        file.write(open("/bin/ls", "rb").read())


def check(name):
    def wrap(function):
        global count
        count += 1
        with tempfile.TemporaryDirectory(prefix="menura-formats-", dir=FAST) as folder:
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


def limited():
    """Bounded memory and time, whatever an image says of itself."""
    resource.setrlimit(resource.RLIMIT_AS, (1 << 30, 1 << 30))
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))


def damage(fmt, image, rounds):
    """Bytes of headers and tables changed at random: an error in words, or content; no crash, and no time without end."""
    whole = open(image, "rb").read()
    chance = random.Random(fmt)
    ends = [0, len(whole) - 1024] if fmt in ("vpc", "vmdk", "dmg") else [0]
    for turn in range(rounds):
        bad = bytearray(whole)
        for _ in range(chance.choice([1, 1, 2, 4, 16])):
            base = chance.choice(ends)
            at = base + chance.randrange(min(chance.choice([64, 512, 4096, 262144]), len(bad) - base))
            bad[at] = chance.choice([0, 1, 0x7f, 0x80, 0xff, chance.randrange(256), bad[at] ^ 1 << chance.randrange(8)])
        if turn % 17 == 0:
            del bad[chance.randrange(len(bad)):]
        with open("bad", "wb") as file:
            file.write(bad)
        for command in (["info", "-f", fmt, "bad"], ["check", "-f", fmt, "bad"], ["check", "-r", "all", "-f", fmt, "bad"], ["map", "-f", fmt, "bad"],
                        ["bench", "-f", fmt, "-c", "20", "-s", "64k", "-w", "bad"]):
            done = run(MENURA, *command, status=None, preexec_fn=limited)
            assert done.returncode in (0, 1, 2, 3, 63), f"turn {turn}: {command}: status {done.returncode}\n{done.stderr}"
            assert done.returncode != 1 or done.stderr.startswith("menura-img: "), f"turn {turn}: {command}: {done.stderr}"


for fmt, about in FORMATS.items():
    if WANTED and fmt not in WANTED:
        continue
    for options in about["options"]:
        o = ["-o", options] if options else []

        @check(f"{fmt}: we create ({options}), QEMU writes, we read")
        def _():
            source()
            ours("create", "-q", "-f", fmt, *o, "a", "24M")
            tell_the_same(fmt, "a")
            sound(fmt, "a")
            io(fmt, "a", *WRITES)
            run("qemu-img", "convert", "-n", "-f", "raw", "-O", fmt, "s.raw", "a")
            sound(fmt, "a")
            same(fmt, "a")
            ours("convert", "-f", fmt, "-O", "raw", "a", "b.raw")
            same("raw", "b.raw")
            tell_the_same(fmt, "a")

        @check(f"{fmt}: QEMU creates ({options}), we write, QEMU reads")
        def _():
            source()
            qemu("create", "-q", "-f", fmt, *o, "a", "24M")
            tell_the_same(fmt, "a")
            ours("convert", "-n", "-f", "raw", "-O", fmt, "s.raw", "a")
            sound(fmt, "a")
            same(fmt, "a")
            tell_the_same(fmt, "a")
            io(fmt, "a", "write -P 9 3M 3M", "read -P 9 3M 3M", "read -P 7 23M 1M")
            sound(fmt, "a")

        @check(f"{fmt}: whole conversions ({options}) are told alike")
        def _():
            source()
            ours("convert", "-f", "raw", "-O", fmt, *o, "s.raw", "mine")
            qemu("convert", "-f", "raw", "-O", fmt, *o, "s.raw", "theirs")
            for file in ("mine", "theirs"):
                sound(fmt, file)
                same(fmt, file)
                tell_the_same(fmt, file)
            assert os.path.getsize("mine") <= os.path.getsize("theirs") + (1 << 20), (os.path.getsize("mine"), os.path.getsize("theirs"))

    @check(f"{fmt}: formats are found by their first bytes; wrong options are named")
    def _():
        o = ["-o", about["options"][-1]] if fmt == "luks" else []
        ours("create", "-q", "-f", fmt, *o, "a", "4M")
        equal(json.loads(ours("info", "--output=json", "a").stdout)["format"], fmt, "format")
        said = ours("create", "-f", fmt, "-o", "no_such_option=1", "b", "4M", status=1).stderr
        assert "no_such_option" in said, said
        assert not os.path.exists("b") or os.path.getsize("b") == 0

    @check(f"{fmt}: damaged images")
    def _():
        source()
        qemu("convert", "-f", "raw", "-O", fmt, "s.raw", "good")
        damage(fmt, "good", 40)

    if about.get("backing"):
        @check(f"{fmt}: backing images, both ways")
        def _():
            source()
            for tool in (MENURA, "qemu-img"):
                run(tool, "create", "-q", "-f", fmt, "-b", "s.raw", "-F", "raw", "a")
                io(fmt, "a", "write -P 9 9M 5k", "write -P 9 700k 1M")
                run(tool, "convert", "-f", fmt, "-O", "raw", "a", "flat0.raw")
                qemu("convert", "-f", fmt, "-O", "raw", "a", "flat1.raw")
                same("raw", "flat1.raw", "flat0.raw")
                ours("convert", "-f", "raw", "-O", fmt, "-B", "s.raw", "-F", "raw", "flat0.raw", "b")
                for file in ("a", "b"):
                    sound(fmt, file)
                    same(fmt, file, "flat1.raw")
                    tell_the_same(fmt, file)

    if about.get("compresses"):
        @check(f"{fmt}: compression")
        def _():
            source()
            ours("convert", "-c", "-f", "raw", "-O", fmt, "s.raw", "mine")
            same(fmt, "mine")
            sound(fmt, "mine")
            tell_the_same(fmt, "mine")
            assert os.path.getsize("mine") < 1 << 20, os.path.getsize("mine")
            io(fmt, "mine", "write -P 9 8M 100k", "write -P 9 3000 10k")
            ours("convert", "-f", fmt, "-O", "raw", "mine", "b.raw")
            qemu("compare", "-q", "-f", "raw", "-F", fmt, "b.raw", "mine")

if not WANTED or "vmdk" in WANTED:
    @check("vmdk: streamOptimized, both ways")
    def _():
        source()
        for tool in (MENURA, "qemu-img"):
            run(tool, "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized", "s.raw", "a.vmdk")
            same("vmdk", "a.vmdk")
            ours("check", "-q", "-f", "vmdk", "a.vmdk")
            equal(*[json.loads(run(t, "info", "--output=json", "a.vmdk").stdout) for t in (MENURA, "qemu-img")], "info")
            assert os.path.getsize("a.vmdk") < 1 << 20
            os.unlink("a.vmdk")

    @check("vmdk: parents, both ways; a descriptor that names other files is refused")
    def _():
        source()
        ours("convert", "-f", "raw", "-O", "vmdk", "s.raw", "base.vmdk")
        for tool in (MENURA, "qemu-img"):
            run(tool, "create", "-q", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", "top.vmdk")
            io("vmdk", "top.vmdk", "write -P 9 9M 5k", "write -P 9 700k 1M")
            run(tool, "convert", "-f", "vmdk", "-O", "raw", "top.vmdk", "flat.raw")
            same("vmdk", "top.vmdk", "flat.raw")
            os.unlink("top.vmdk")
        ours("create", "-q", "-f", "vmdk", "-o", "subformat=monolithicFlat", "flat.vmdk", "1M")
        text = open("flat.vmdk", encoding="ascii").read()
        with open("flat.vmdk", "w", encoding="ascii") as file:
            file.write(text.replace("flat-flat.vmdk", "/etc/passwd"))
        assert "beside" in ours("info", "flat.vmdk", status=1).stderr

if not WANTED or "vhdx" in WANTED:
    @check("vhdx: what a killed QEMU left in the log is applied")
    def _():
        source()
        qemu("create", "-q", "-f", "vhdx", "-o", "block_size=1M", "a", "64M")
        done = subprocess.run(["qemu-io", "-f", "vhdx", "-c", "write -P 5 3M 2M", "-c", "flush", "-c", "sigraise 9", "a"], stdout=subprocess.DEVNULL, check=False)
        assert done.returncode < 0
        ours("check", "-r", "all", "-f", "vhdx", "a", status=None)
        io("vhdx", "a", "read -P 5 3M 2M")
        ours("check", "-q", "-f", "vhdx", "a")

def make_dmg(name, raw, chunk=256):
    """UDIF by hand, for there is nobody here who makes it: every second run of sectors by zlib, plain ones and zeroes between."""
    data = open(raw, "rb").read()
    out, runs = bytearray(b"\0" * 512), b""
    for i, at in enumerate(range(0, len(data), chunk * 512)):
        part = data[at:at + chunk * 512]
        kind, body = (0x80000005, zlib.compress(part)) if i % 2 else (1, part)
        if not any(part):
            kind, body = 2, b""
        runs += struct.pack(">IIQQQQ", kind, 0, at // 512, len(part) // 512, len(out), len(body))
        out += body
    runs += struct.pack(">IIQQQQ", 0xffffffff, 0, len(data) // 512, 0, len(out), 0)
    table = struct.pack(">4sIQQQII", b"mish", 1, 0, len(data) // 512, 0, chunk + 8, 0) + b"\0" * 160 + struct.pack(">I", len(runs) // 40) + runs
    text = base64.encodebytes(table).decode()
    plist = f"<plist><dict><key>resource-fork</key><dict><key>blkx</key><array><dict><key>Data</key><data>{text}</data></dict></array></dict></dict></plist>".encode()
    trailer = bytearray(512)
    struct.pack_into(">4sIII", trailer, 0, b"koly", 4, 512, 1)
    struct.pack_into(">QQ", trailer, 24, 0, len(out))
    struct.pack_into(">QQ", trailer, 216, len(out), len(plist))
    struct.pack_into(">Q", trailer, 492, len(data) // 512)
    with open(name, "wb") as file:
        file.write(out + plist + trailer)


if not WANTED or "dmg" in WANTED:
    @check("dmg: QEMU and we read the same; damaged images; writing is refused")
    def _():
        source()
        make_dmg("a.dmg", "s.raw")
        same("dmg", "a.dmg")
        equal(json.loads(ours("info", "--output=json", "a.dmg").stdout)["format"], "dmg", "format")
        equal(*[json.loads(run(t, "info", "-f", "dmg", "--output=json", "a.dmg").stdout) for t in (MENURA, "qemu-img")], "info")
        assert "read-only" in ours("resize", "-f", "dmg", "a.dmg", "30M", status=1).stderr
        with open("s.raw", "r+b") as file:
            file.truncate(1 << 20)
        make_dmg("a.dmg", "s.raw")
        damage("dmg", "a.dmg", 40)

SECRET = ["--object", "secret,id=s,data=sesame"]
LUKS = ["", "cipher-alg=aes-128,hash-alg=sha512", "cipher-mode=cbc,ivgen-alg=essiv,ivgen-hash-alg=sha256",
        "cipher-mode=cbc,ivgen-alg=plain64,hash-alg=sha1"]  # not aes-192: QEMU's own code asserts at key material of half a sector


def encrypted(fmt, file):
    key = "key-secret=s" if fmt == "luks" else "encrypt.format=luks,encrypt.key-secret=s"
    return f"driver={fmt},{key},file.driver=file,file.filename={file}"


def same_plain(fmt, file):
    """Both tools decrypt it to what the source has."""
    for tool in (MENURA, "qemu-img"):
        run(tool, "convert", *SECRET, "--image-opts", encrypted(fmt, file), "-O", "raw", "plain.raw")
        qemu("compare", "-q", "-f", "raw", "-F", "raw", "plain.raw", "s.raw")


for fmt in ("luks", "qcow2"):
    if WANTED and fmt not in WANTED:
        continue
    for options in LUKS if fmt == "luks" else LUKS[:2] + ["cluster_size=4k", "extended_l2=on"]:
        is_qcow2 = fmt == "qcow2" and ("cluster" in options or "l2" in options)
        prefix = "" if fmt == "luks" else "encrypt."
        words = [options] if is_qcow2 else [prefix + word for word in options.split(",") if word]
        o = ",".join(words + [f"{prefix}key-secret=s", f"{prefix}iter-time=20"] + (["encrypt.format=luks"] if prefix else []))

        @check(f"{fmt} encrypted ({options}): both ways")
        def _():
            source()
            for maker, writer in ((MENURA, "qemu-img"), ("qemu-img", MENURA)):
                for file in ("a", "b"):
                    if os.path.exists(file):
                        os.unlink(file)
                patiently(maker, "create", "-q", "-f", fmt, *SECRET, "-o", o, "a", "24M")
                equal(*[json.loads(run(t, "info", "-f", fmt, "--output=json", "a").stdout) for t in (MENURA, "qemu-img")], "info")
                run(writer, "convert", *SECRET, "-n", "--target-image-opts", "-f", "raw", "s.raw", encrypted(fmt, "a"))
                same_plain(fmt, "a")
                run("qemu-io", *SECRET, "--image-opts", "-c", "write -P 77 1000k 3k", "-c", "write -P 78 23M 1M", encrypted(fmt, "a"))
                io("raw", "s.raw", "write -P 77 1000k 3k", "write -P 78 23M 1M")
                same_plain(fmt, "a")
                patiently(maker, "convert", *SECRET, "-f", "raw", "-O", fmt, "-o", o, "s.raw", "b")
                same_plain(fmt, "b")
                if fmt == "qcow2":
                    for file in ("a", "b"):
                        qemu("check", "-q", *SECRET, "--image-opts", encrypted(fmt, file))
                        ours("check", "-q", *SECRET, "--image-opts", encrypted(fmt, file))

    @check(f"{fmt} encrypted: wrong and missing passwords, sizes beforehand")
    def _():
        prefix = "" if fmt == "luks" else "encrypt.format=luks,encrypt."
        ours("create", "-q", "-f", fmt, *SECRET, "-o", f"{prefix}key-secret=s,{prefix.split(',')[-1]}iter-time=20", "a", "4M")
        said = ours("convert", "--object", "secret,id=s,data=wrong", "--image-opts", encrypted(fmt, "a"), "-O", "raw", "b", status=1).stderr
        assert "password" in said, said
        said = ours("convert", "-f", fmt, "-O", "raw", "a", "b", status=1).stderr
        assert "key-secret" in said, said
        said = ours("create", "-q", "-f", fmt, "-o", f"{prefix}key-secret=none", "c", "4M", status=1).stderr
        assert "none" in said, said
        more = ["-o", f"{prefix}key-secret=s"]
        told = [json.loads(patiently(t, "measure", "--output=json", *SECRET, "-O", fmt, *more, "--size", "1G").stdout) for t in (MENURA, "qemu-img")]
        equal(*told, "measure")

    @check(f"{fmt} encrypted: damaged images")
    def _():
        source()
        prefix = "" if fmt == "luks" else "encrypt.format=luks,encrypt."
        patiently("qemu-img", "create", "-q", "-f", fmt, *SECRET, "-o", f"{prefix}key-secret=s,{prefix.split(',')[-1]}iter-time=10", "good", "1M")
        damage(fmt, "good", 12)

print(f"{count - len(failures)} of {count} cases passed")
sys.exit(1 if failures else 0)
