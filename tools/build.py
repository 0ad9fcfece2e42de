"""Configures, builds and runs tests in build/<preset>/."""

import json
import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as xml
from dataclasses import dataclass, field

import tree


def environment():
    """ccache shares its hits between worktrees: paths below the root are relative to it. Its sloppiness is what precompiled
    headers need: macros given to a source but not to them, and their times, do not count."""
    return {**os.environ, "CCACHE_BASEDIR": str(tree.ROOT), "CCACHE_NOHASHDIR": "1",
            "CCACHE_SLOPPINESS": "pch_defines,time_macros,include_file_mtime,include_file_ctime",
            "CLICOLOR_FORCE": "1" if sys.stdout.isatty() else "0",
            "ASAN_SYMBOLIZER_PATH": shutil.which("llvm-symbolizer-16") or ""}


def configure(preset):
    folder = tree.build_dir(preset)
    if (folder / "build.ninja").exists():
        return  # Ninja itself runs CMake again when a CMake file or a room appears
    done = subprocess.run(["cmake", "--preset", preset], cwd=tree.ROOT, env=environment(), text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode:
        print(done.stdout)
        raise SystemExit(f"cmake cannot configure {preset}; `./x setup` installs what is missing")
    commands = tree.ROOT / "compile_commands.json"  # for editors
    if preset == "dev" and not commands.is_symlink():
        commands.symlink_to(folder / "compile_commands.json")


def reconfigure(preset):
    """Lets Ninja run CMake again if a CMake file or the set of rooms changed."""
    subprocess.run(["ninja", "-C", str(tree.build_dir(preset)), "--quiet", "build.ninja"], check=True,
                   env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def known_targets(preset):
    reconfigure(preset)
    output = subprocess.run(["ninja", "-C", str(tree.build_dir(preset)), "-t", "targets", "all"], text=True,
                            check=True, stdout=subprocess.PIPE).stdout
    return {line.split(":")[0] for line in output.splitlines()}


def build(preset, targets=(), keep_going=False):
    """Builds the targets (all by default). Prints errors and warnings; leaves with status 1 on failure."""
    configure(preset)
    start = time.monotonic()
    quiet = [] if sys.stdout.isatty() else ["--quiet"]
    command = ["ninja", "-C", str(tree.build_dir(preset)), "-j", str(tree.jobs()), *quiet,
               *(["-k", "0"] if keep_going else []), *targets]
    done = subprocess.run(command, env=environment(), text=True, stdout=subprocess.PIPE if quiet else None,
                          stderr=subprocess.STDOUT if quiet else None)
    if quiet:
        noise = ("ninja: Entering", "ninja: no work", "[0/", "-- ")
        lines = [line for line in done.stdout.splitlines() if done.returncode or not line.startswith(noise)]
        print(*lines, sep="\n", end="\n" if lines else "")
    if done.returncode:
        raise SystemExit(f"build of {preset} failed: {' '.join(targets) or 'everything'}")
    print(f"built {preset}: {' '.join(targets) or 'everything'} in {time.monotonic() - start:.1f} s")


@dataclass
class Tally:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    notes: list = field(default_factory=list)

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped
        self.notes += other.notes

    def report(self):
        """Prints what failed or was skipped and the closing line; returns the exit status."""
        print(*self.notes, sep="\n", end="\n" if self.notes else "")
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped")
        return 1 if self.failed or not self.passed else 0


def run_tests(preset, pattern=None):
    """Runs ctest on the tests whose names match the pattern; counts gtest's cases one by one."""
    folder = tree.build_dir(preset)
    results = folder / "results"
    shutil.rmtree(results, ignore_errors=True)
    results.mkdir()
    command = ["ctest", "--test-dir", str(folder), "--output-on-failure", "-j", str(tree.jobs()),
               "--output-junit", str(results / "ctest.xml"), *(["-R", pattern] if pattern else [])]
    env = {**environment(), "GTEST_OUTPUT": f"json:{results}/", "GTEST_BRIEF": "1",
           "ASAN_OPTIONS": "detect_leaks=1:strict_string_checks=1", "UBSAN_OPTIONS": "print_stacktrace=1",
           "TSAN_OPTIONS": "second_deadlock_stack=1"}
    done = subprocess.run(command, cwd=tree.ROOT, env=env, text=True, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    tally = Tally()
    if (results / "ctest.xml").exists():
        for case in xml.parse(results / "ctest.xml").getroot().iter("testcase"):
            tally.add(tally_of(case, results))
    if done.returncode or tally.failed:
        print(done.stdout)
    return tally


def tally_of(case, results):
    """The count of one ctest entry: gtest's own report if it wrote a complete one, else a single verdict."""
    name, status = case.get("name"), case.get("status")
    report = results / f"{tree.target_of(name)}_test.json"
    if report.exists() and status in ("run", "fail"):
        tally = gtest_tally(name, json.loads(report.read_text()))
        if status == "run" or tally.failed:
            return tally
    if status == "run":
        return Tally(passed=1)
    if status in ("notrun", "disabled"):
        return Tally(skipped=1, notes=[f"SKIPPED {name}"])
    return Tally(failed=1, notes=[f"FAILED  {name} (the program did not finish; see its output above)"])


def gtest_tally(room, report):
    tally = Tally()
    for suite in report.get("testsuites", ()):
        for case in suite["testsuite"]:
            title = f"{room} {suite['name']}.{case['name']}"
            if case.get("failures"):
                tally.add(Tally(failed=1, notes=[f"FAILED  {title}"]))
            elif case.get("result") == "SKIPPED":
                reasons = [s.get("message", "").split("\n")[-1] for s in case.get("skipped", ())]
                tally.add(Tally(skipped=1, notes=[f"SKIPPED {title}: {'; '.join(reasons)}"]))
            elif case.get("status") == "NOTRUN":
                tally.add(Tally(skipped=1, notes=[f"SKIPPED {title} (disabled)"]))
            else:
                tally.passed += 1
    return tally
