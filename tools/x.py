"""The commands of ./x: each function below with a row in COMMANDS. `./x help` prints the rows."""

import difflib
import json
import os
import re
import subprocess
import sys

import build
import check
import check_house
import check_layers
import check_limits
import coverage
import fmt
import guest
import new
import runs
import setup
import tidy
import tree


def list_tests(preset):
    """The names ctest knows: room names, and others from tests/."""
    output = subprocess.run(["ctest", "--test-dir", str(tree.build_dir(preset)), "--show-only=json-v1"],
                            check=True, text=True, stdout=subprocess.PIPE).stdout
    return {test["name"]: test["command"][0] if test.get("command") else "" for test in json.loads(output)["tests"]}


def select_tests(names, tests):
    """The tests that the given names mean: a room, a folder of rooms, a file or folder below a room."""
    selected = set()
    for name in names:
        name = name.removeprefix("src/").strip("/")
        if name in ("", "src"):
            return set(tests)
        below = {test for test in tests if test == name or test.startswith(name + "/")}
        room = tree.room_of(name)
        holds_rooms = any(r.startswith(name + "/") for r in tree.doors())
        if not below and room is None and not holds_rooms:
            known = sorted(set(tests) | set(tree.doors()))
            near = difflib.get_close_matches(name, known, 3, 0.4)
            hint = f"; did you mean {' or '.join(near)}?" if near else ""
            raise SystemExit(f"no room or test is called '{name}'{hint}")
        selected |= below or {test for test in tests if test == room}
    return selected


def command_build(arguments):
    build.configure("dev")
    targets = []
    for name in arguments:
        if name in tree.doors():  # a header-only room has no library to build
            wanted = {tree.target_of(name) + suffix for suffix in ("", "_test", "_headers")}
            targets += sorted(wanted & build.known_targets("dev"))
        else:
            targets.append(name)
    if targets or not arguments:
        build.build("dev", targets)


def test_preset(preset, names):
    """Builds and runs the tests of the rooms, all by default; returns the tally."""
    build.configure(preset)
    if not names:
        build.build(preset)
        return build.run_tests(preset)
    build.reconfigure(preset)
    tests = list_tests(preset)
    selected = sorted(select_tests(names, tests))
    if not selected:
        print(f"no tests in {' '.join(names)}")
        return build.Tally(passed=0)
    build.build(preset, [f"{tree.target_of(name)}_test" if name in tree.doors() else "all" for name in selected])
    return build.run_tests(preset, "^(" + "|".join(map(re.escape, selected)) + ")$")


def command_test(arguments):
    return finish(test_preset("dev", arguments), arguments)


def finish(tally, names):
    status = tally.report()
    return 0 if names and not tally.failed else status


def command_asan(arguments):
    return finish(test_preset("asan", arguments), arguments)


def command_tsan(arguments):
    return finish(test_preset("tsan", arguments), arguments)


def command_setup(arguments):
    return setup.run()


def command_check(arguments):
    return check.run()


def command_boot(arguments):
    """Debian's kernel to a shell on this terminal, on our own CPU; more options go to the program."""
    if setup.run():
        return 1
    build.build("release", PROGRAMS)
    kernel, initrd = guest.prepare()
    program = str(tree.build_dir("release") / "bin/menura-system-x86_64")
    command = [program, "-accel", "jit", "-m", "512", "-nographic", "-kernel", str(kernel), "-initrd", str(initrd),
               "-append", "console=ttyS0 quiet no_timer_check", *arguments]
    print(" ".join(f"'{word}'" if " " in word else word for word in command), flush=True)
    os.execv(program, command)


PROGRAMS = ["menura-system-x86_64"]


def command_release(arguments):
    build.build("release", arguments or PROGRAMS)


def command_lint(arguments):
    build.build("lint", keep_going=True)
    return tidy.run()


def command_cov(arguments):
    for counters in tree.build_dir("cov").rglob("*.gcda"):
        counters.unlink()
    tally = test_preset("cov", arguments)
    coverage.report()
    return finish(tally, arguments)


def pick(kind, names, known):
    """The names, each checked against the known ones."""
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, 3, 0.4)
            raise SystemExit(f"no {kind} is called '{name}'; there are: {' '.join(near or known) or 'none yet'}")
    return names


def command_fuzz(arguments):
    targets = runs.fuzz_targets()
    if not arguments:
        print("fuzz targets:", " ".join(targets) or "none yet")
        return 0
    pick("fuzz target", arguments[:1], targets)
    seconds = int(arguments[1]) if len(arguments) > 1 else 60
    build.build("fuzz", [f"fuzz_{arguments[0]}"])
    return 0 if runs.fuzz(arguments[0], seconds) else 1


def command_bench(arguments):
    """Suites by name; what follows the name of a script (bench/NAME.py) is for the script."""
    scripted = next((i for i, name in enumerate(arguments) if name in runs.bench_scripts()), len(arguments) - 1)
    names, rest = arguments[:scripted + 1], arguments[scripted + 1:]
    return runs.bench(pick("benchmark suite", names, runs.bench_suites()), rest)


def command_soak(arguments):
    return runs.soak(pick("soak test", arguments, runs.soak_tests()))


def command_new(arguments):
    if len(arguments) != 2 or arguments[0] != "device":
        raise SystemExit("usage: ./x new device ROOM/NAME, for instance timer/hpet")
    return new.device(arguments[1])


def command_layers(arguments):
    return check_layers.main()


def command_limits(arguments):
    return check_limits.main()


def command_house(arguments):
    return check_house.main()


def command_fmt(arguments):
    return fmt.run(check="--check" in arguments)


def command_help(arguments):
    print("usage: ./x COMMAND\n")
    for usage, _, text in COMMANDS:
        print(f"  {usage:26}{text}")
    print("\nRooms are folders under src/, as in layers.txt: ./x test hw/timer")


COMMANDS = [
    ("setup", command_setup, "install the Debian packages that are missing"),
    ("build [TARGET...]", command_build, "build rooms or programs (all by default) into build/dev/"),
    ("test [ROOM...]", command_test, "build and run the tests of rooms, all by default"),
    ("check", command_check, "all that a change must pass: checks, build, tests, short fuzz runs"),
    ("release [TARGET...]", command_release, "build what users run into build/release/"),
    ("fmt [--check]", command_fmt, "format the C++ sources, or tell which are not formatted"),
    ("layers", command_layers, "check includes against layers.txt"),
    ("limits", command_limits, "check the sizes of functions and files"),
    ("house", command_house, "check names, macros, globals and other house rules"),
    ("lint", command_lint, "build with clang's thread-safety analysis, run clang-tidy"),
    ("asan [ROOM...]", command_asan, "tests with AddressSanitizer and UndefinedBehaviorSanitizer"),
    ("tsan [ROOM...]", command_tsan, "tests with ThreadSanitizer"),
    ("cov [ROOM...]", command_cov, "tests with coverage, summed up per room"),
    ("fuzz [TARGET [SECONDS]]", command_fuzz, "fuzz one target, or list the targets"),
    ("bench [SUITE...]", command_bench, "run benchmark suites, all by default; `bench jit --help` for guest workloads"),
    ("boot [OPTION...]", command_boot, "boot Debian's kernel to a shell on this terminal, on menura's own CPU"),
    ("soak [TEST...]", command_soak, "run the long tests of tests/soak/, all by default"),
    ("new device ROOM/NAME", command_new, "write the skeleton of a device and of its test, as in timer/hpet"),
    ("help", command_help, "this list"),
]


def main():
    commands = {usage.split()[0]: run for usage, run, _ in COMMANDS}
    name = sys.argv[1] if len(sys.argv) > 1 else "help"
    if name not in commands:
        near = difflib.get_close_matches(name, commands, 1)
        raise SystemExit(f"./x has no command '{name}'" + (f"; did you mean {near[0]}?" if near else "; see ./x help"))
    return commands[name](sys.argv[2:])


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
