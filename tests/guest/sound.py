#!/usr/bin/env python3
"""Debian's sound drivers with our cards and the PC's loudspeaker: each plays a tone, and the WAV file that comes of it has that tone.

usage: sound.py PROGRAM. Exit status 77 when the guest's files cannot be had."""

import array
import os
import shutil
import subprocess
import sys
import tempfile
import wave
from pathlib import Path

sys.dont_write_bytecode = True
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tools"))
import guest  # noqa: E402

SECONDS = 150
# What plays: its option, and the tone.
CARDS = {"AC97": 1000}
BEEP = 440
SCRIPT = """
dmesg -n 1
base64 -d /tone.txt > /tone; chmod 755 /tone
@PLAY@
event=$(grep -A 5 'PC Speaker' /proc/bus/input/devices | grep -o 'event[0-9]*' | head -1)
/tone beep /dev/input/$event @BEEP@
dmesg | grep -E 'BUG:|Oops|general protection|clocking|irq timeout'
echo SOUND-OVER
"""


def command(program, folder):
    tone = folder / "tone"
    subprocess.run(["gcc", "-O1", "-static", "-o", str(tone), str(Path(__file__).parent / "tone.c"), "-lm"], check=True)
    subprocess.run(["strip", str(tone)], check=True)
    play = "\n".join(f"/tone pcm {n} {hz}" for n, hz in enumerate(CARDS.values()))
    kernel = guest.kernel_package()
    encoded = subprocess.run(["base64", str(tone)], stdout=subprocess.PIPE, check=True).stdout.decode()
    script = "cat > /tone.txt <<'END'\n" + encoded + "END\n" + SCRIPT.replace("@PLAY@", play).replace("@BEEP@", str(BEEP))
    initrd = guest.make_initrd(folder / "initrd.gz", script, modules_of=kernel, modules=["snd_intel8x0", "pcspkr", "evdev"])
    options = []
    for card in CARDS:
        options += ["-audiodev", f"wav,id={card},path={folder / card}.wav", "-device", f"{card},audiodev={card}"]
    return [program, "-accel", "tcg" if os.environ.get("MENURA_PEER") else "jit", "-m", "512", "-nodefaults", "-nographic", "-serial",
            "stdio", "-no-reboot", *options, "-audiodev", f"wav,id=beep,path={folder / 'beep.wav'}", "-machine", "pc,pcspk-audiodev=beep",
            "-kernel", str(guest.vmlinuz(kernel)), "-initrd", str(initrd), "-append", "console=ttyS0 menura.script panic=-1"]


def judge(path, hz, least_seconds):
    """By the sign changes between the first and the last loud sample."""
    with wave.open(str(path)) as file:
        assert file.getparams()[:3] == (2, 2, 44100), f"{path.name}: {file.getparams()}"
        samples = array.array("h", file.readframes(file.getnframes()))[::2]
    loud = [i for i, sample in enumerate(samples) if abs(sample) > 1000]
    assert loud, f"{path.name} is silent: {len(samples)} frames"
    part = samples[loud[0]:loud[-1] + 1]
    seconds = len(part) / 44100
    changes = sum((a < 0) != (b < 0) for a, b in zip(part, part[1:]))
    heard = changes / 2 / seconds
    assert seconds > least_seconds, f"{path.name}: only {seconds} s are heard"
    assert abs(heard - hz) < hz * 0.02, f"{path.name}: {heard} Hz instead of {hz}"
    print(f"{path.name}: {heard:.1f} Hz for {seconds:.2f} s")


def main():
    program = sys.argv[1]
    try:
        guest.prepare()
        guest.kernel_package()
    except (subprocess.CalledProcessError, OSError) as error:
        print(f"SKIPPED: no guest kernel: {error}")
        sys.exit(77)
    if not shutil.which("gcc"):
        print("SKIPPED: no compiler for the guest's player")
        sys.exit(77)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        process = subprocess.run(command(program, folder), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                                 timeout=SECONDS, check=False)
        lines = process.stdout.decode(errors="replace").replace("\r", "").split("\n")
        missing = [line for line in [*["played 72000 frames"] * bool(CARDS), "beeped", "SOUND-OVER", "SCRIPT-DONE"] if line not in lines]
        oops = [line for line in lines if any(word in line for word in ("BUG:", "Oops", "general protection", "timeout"))]
        if process.returncode or missing or oops:
            raise SystemExit("\n".join(lines) + f"\nstatus {process.returncode}, missing {missing}, kernel complaints {oops}")
        if os.environ.get("MENURA_KEEP"):
            shutil.copytree(folder, os.environ["MENURA_KEEP"], dirs_exist_ok=True)
            print("\n".join(lines[-40:]))
        for card, hz in CARDS.items():
            judge(folder / f"{card}.wav", hz, 1.4)
        judge(folder / "beep.wav", BEEP, 0.8)


if __name__ == "__main__":
    main()
