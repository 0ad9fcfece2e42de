"""The commands of ./x: each function below has a row in COMMANDS, which `./x help` prints. Its docstring is what
`./x COMMAND --help` says."""

import difflib
import inspect
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
    """Builds into build/dev/: with assertions and line tables, warnings are errors. Programs lie in build/dev/bin/.

    A room's name stands for its library, its tests and its headers, each compiled alone:
      ./x build hw/timer                 one room and what it needs
      ./x build menura-system-x86_64     one program
      ./x build headers                  every header alone
    Without a name everything is built. What users run comes from `./x release`.
    """
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
    """Builds and runs tests in build/dev/. A name is a room, a folder of rooms, or a folder of tests/:
      ./x test                    all
      ./x test hw/timer state     two rooms
      ./x test hw                 every room below src/hw/
      ./x test tests/boot         guests that boot
    The last line counts what passed, failed and was skipped; each skip gives its reason (no /dev/kvm, no guest kernel).
    One test alone: build/dev/bin/hw_timer_test --gtest_filter='PitTest.*'
    """
    return finish(test_preset("dev", arguments), arguments)


def finish(tally, names):
    status = tally.report()
    return 0 if names and not tally.failed else status


def command_asan(arguments):
    """As `./x test ROOM...`, with AddressSanitizer, its leak check, and UndefinedBehaviorSanitizer, by clang in build/asan/.

      ./x asan state hw/ide
    The code that the JIT emits is not instrumented; its C++ side is.
    """
    return finish(test_preset("asan", arguments), arguments)


def command_tsan(arguments):
    """As `./x test ROOM...`, with ThreadSanitizer, in build/tsan/.

      ./x tsan memory accel/kvm
    The code that the JIT emits is invisible to it: races of translated code with itself go unseen, while the code cache, the soft MMU
    and everything called from translated code are watched.
    """
    return finish(test_preset("tsan", arguments), arguments)


def command_setup(arguments):
    """Installs the packages of Debian 12 that building, testing and booting guests need, and says what each is for. It installs only
    what is missing, as root or through sudo, and changes nothing when all is there. The list is in tools/setup.py.
    """
    return setup.run()


def command_check(arguments):
    """All that a change must pass, the cheap checks first: format, layers, limits, the checks' own tests, duplicates (advisory), build,
    headers, house rules, clang-tidy, the first inputs of most fuzz targets, and every test. It goes on after a failure, so that one run
    shows all, and ends with the sum and the time of each step. docs/how-to/checks.md has a table of the steps.
    """
    return check.run()


def command_boot(arguments):
    """Boots Debian's kernel to a shell on this terminal, on menura's own CPU (the JIT): installs what is missing, builds the release
    program, fetches the kernel from Debian's package on the first run, and prints the command that it then runs. Ctrl-A x leaves.

    Options go to the program, the last one counts:
      ./x boot -accel kvm -m 1024
      ./x boot -monitor unix:/tmp/mon,server,nowait
    """
    if setup.run():
        return 1
    build.build("release", PROGRAMS)
    kernel, initrd = guest.prepare()
    program = str(tree.build_dir("release") / "bin/menura-system-x86_64")
    command = [program, "-accel", "jit", "-m", "512", "-nographic", "-kernel", str(kernel), "-initrd", str(initrd),
               "-append", "console=ttyS0 quiet", *arguments]
    print(" ".join(f"'{word}'" if " " in word else word for word in command), flush=True)
    os.execv(program, command)


PROGRAMS = ["menura-system-x86_64", "menura-img", "menura-io", "menura-nbd"]


def command_release(arguments):
    """Builds what users run, optimised and hardened, into build/release/bin/: menura-system-x86_64,
    menura-img, menura-io and menura-nbd, or the named targets."""
    build.build("release", arguments or PROGRAMS)


def command_lint(arguments):
    """clang-tidy 14 over the sources and headers of src/, all findings errors: a short list of checks (.clang-tidy) and clang's own
    warnings, those of its thread-safety analysis among them. A source is read again only when it, a header that it includes, or the
    settings change. `./x check` does the same.

      ./x lint                           what changed since it passed
      ./x lint hw/ide src/base/fd.cpp    only these rooms, folders and files
      ./x lint --build                   first everything, tests too, through clang 16
    """
    if "--build" in arguments:
        build.build("lint", keep_going=True)
    return tidy.run([name for name in arguments if name != "--build"])


def command_cov(arguments):
    """As `./x test ROOM...` with coverage counters, in build/cov/; sums up per room how many lines ran.

      ./x cov hw/timer
    """
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
    """Feeds a target of fuzz/ with made-up input (libFuzzer with AddressSanitizer and UndefinedBehaviorSanitizer) for 60 seconds, or
    as many as told. It begins with fuzz/seeds/TARGET/ and what earlier runs kept in build/fuzz/corpus/.

      ./x fuzz                 the targets
      ./x fuzz qmp 600         one, for ten minutes
      ./x fuzz all 5           every one, for five seconds each
    An input that fails is kept in build/fuzz/crashes/; to run it again: build/asan/bin/fuzz_TARGET FILE. A fix comes with a test.
    """
    targets = runs.fuzz_targets()
    if not arguments:
        print("fuzz targets:", " ".join(targets) or "none yet")
        return 0
    name, seconds = arguments[0], arguments[1] if len(arguments) > 1 else "60"
    if not seconds.isdecimal() or int(seconds) == 0:
        raise SystemExit(f"./x fuzz: '{seconds}' is no number of seconds")
    return runs.fuzz_all(targets if name == "all" else pick("fuzz target", [name], targets), int(seconds))


def command_bench(arguments):
    """Builds with optimisation into build/bench/ and runs benchmark suites, all by default; JSON results lie in build/bench/results/.

      ./x bench kvm
    docs/benchmarks.md has the figures of before; measure on an idle machine.
    """
    return runs.bench(pick("benchmark suite", arguments, runs.bench_suites()))


def command_soak(arguments):
    """Runs the long tests of tests/soak/ on the release build, all by default; each takes minutes and says what it needs.

      ./x soak grub
    """
    return runs.soak(pick("soak test", arguments, runs.soak_tests()))


def command_new(arguments):
    """Writes the skeleton of a device and of its test into a room of src/hw/ and lists both for the build:

      ./x new device timer/hpet
    `./x house` refuses the skeleton until its places marked to fill in are filled.
    """
    if len(arguments) != 2 or arguments[0] != "device":
        raise SystemExit("usage: ./x new device ROOM/NAME, for instance timer/hpet")
    return new.device(arguments[1])


def command_layers(arguments):
    """Checks each include against layers.txt: a room may include only from rooms behind its doors, and doors make no circles."""
    return check_layers.main()


def command_limits(arguments):
    """Checks sizes: functions of 100 lines and 6 parameters, files of 1000 lines, headers of 250. Exceptions, each with its reason, are
    in tools/limits.txt.
    """
    return check_limits.main()


def command_house(arguments):
    """Checks the rules of the house that a program can see: names, macros, banned includes and calls, headers that open with their
    purpose, room READMEs, and (in the libraries of build/dev) globals that can change. Exceptions, each with its reason, are in
    tools/house.txt; one that excuses nothing any more is an error.
    """
    return check_house.main()


def command_fmt(arguments):
    """Formats the C++ sources with clang-format 14; with --check it only tells which are not formatted, and fails."""
    return fmt.run(check="--check" in arguments)


def command_help(arguments):
    """Lists the commands; `./x help COMMAND` and `./x COMMAND --help` explain one."""
    if arguments:
        return explain(find_command(arguments[0]))
    print("usage: ./x COMMAND\n")
    for usage, _, text in COMMANDS:
        print(f"  {usage:26}{text}")
    print("\n./x COMMAND --help explains one. Rooms are folders under src/, as in layers.txt: ./x test hw/timer")
    return 0


def explain(row):
    usage, run, _ = row
    print(f"usage: ./x {usage}\n\n{inspect.getdoc(run)}")
    return 0


COMMANDS = [
    ("setup", command_setup, "install the Debian packages that are missing"),
    ("build [TARGET...]", command_build, "build rooms or programs (all by default) into build/dev/"),
    ("test [ROOM...]", command_test, "build and run the tests of rooms, all by default"),
    ("check", command_check, "all that a change must pass: checks, build, tests"),
    ("release [TARGET...]", command_release, "build what users run into build/release/"),
    ("fmt [--check]", command_fmt, "format the C++ sources, or tell which are not formatted"),
    ("layers", command_layers, "check includes against layers.txt"),
    ("limits", command_limits, "check the sizes of functions and files"),
    ("house", command_house, "check names, macros, globals and other house rules"),
    ("lint [--build] [ROOM...]", command_lint, "run clang-tidy, with clang's thread-safety analysis"),
    ("asan [ROOM...]", command_asan, "tests with AddressSanitizer and UndefinedBehaviorSanitizer"),
    ("tsan [ROOM...]", command_tsan, "tests with ThreadSanitizer"),
    ("cov [ROOM...]", command_cov, "tests with coverage, summed up per room"),
    ("fuzz [TARGET [SECONDS]]", command_fuzz, "fuzz one target or all, or list the targets"),
    ("bench [SUITE...]", command_bench, "run benchmark suites, all by default"),
    ("boot [OPTION...]", command_boot, "boot Debian's kernel to a shell on this terminal, on menura's own CPU"),
    ("soak [TEST...]", command_soak, "run the long tests of tests/soak/, all by default"),
    ("new device ROOM/NAME", command_new, "write the skeleton of a device and of its test, as in timer/hpet"),
    ("help [COMMAND]", command_help, "this list, or one command explained"),
]


def find_command(name):
    """Its row of COMMANDS."""
    rows = {row[0].split()[0]: row for row in COMMANDS}
    if name not in rows:
        near = difflib.get_close_matches(name, rows, 1)
        raise SystemExit(f"./x has no command '{name}'" + (f"; did you mean {near[0]}?" if near else "; see ./x help"))
    return rows[name]


def main(words):
    name, *arguments = words or ["help"]
    row = find_command("help" if name in ("-h", "--help") else name)
    if arguments and arguments[0] in ("-h", "--help"):
        return explain(row)
    return row[1](arguments)


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
