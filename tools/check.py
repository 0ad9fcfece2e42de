"""./x check: everything a change must pass, the cheap checks first. Goes on after a failure, so that one run shows all."""

import subprocess
import sys
import time

import build
import check_house
import check_layers
import check_limits
import duplicates
import fmt
import runs
import tidy
import tree


def tool_tests():
    done = subprocess.run([sys.executable, "-B", "-m", "unittest", "-q", "checks_test"], cwd=tree.ROOT / "tools", text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    print(done.stdout if done.returncode else "tools: the checks find planted faults")
    return done.returncode


def built(preset, *targets):
    try:
        build.build(preset, targets, keep_going=True)
    except SystemExit as failure:
        print(failure)
        return 1
    return 0


# Fuzz targets that want the whole machine built by clang, too: by themselves (./x fuzz).
WHOLE_MACHINE = {"machine", "options", "qmp"}


def fuzzed():
    try:
        return runs.fuzz_all([target for target in runs.fuzz_targets() if target not in WHOLE_MACHINE])
    except SystemExit as failure:
        print(failure)
        return 1


STEPS = [
    ("format", lambda: fmt.run(check=True)),
    ("layers", check_layers.main),
    ("limits", check_limits.main),
    ("tools", tool_tests),
    ("duplicates", duplicates.main),
    ("build", lambda: built("dev")),
    ("headers", lambda: built("dev", "headers")),
    ("house", check_house.main),
    ("tidy", tidy.run),
    ("fuzz", fuzzed),
]


def run():
    total, times = build.Tally(), []
    for name, step in STEPS:
        start = time.monotonic()
        failed = step() != 0
        times.append(f"{name} {time.monotonic() - start:.0f}")
        total.add(build.Tally(failed=1, notes=[f"FAILED  {name}"]) if failed else build.Tally(passed=1))
        sys.stdout.flush()
    start = time.monotonic()
    total.add(build.run_tests("dev"))
    print(f"seconds: {', '.join(times)}, tests {time.monotonic() - start:.0f}\n")
    return total.report()
