"""Programs that are run rather than tested once: fuzz targets, benchmarks, soak tests."""

import os
import re
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import build
import tree


def environment(preset):
    """Scripts under bench/ and tests/soak/ find the programs of menura by MENURA_BIN."""
    return {**build.environment(), "MENURA_BIN": str(tree.build_dir(preset) / "bin"), "MENURA_ROOT": str(tree.ROOT)}


def fuzz_targets():
    text = (tree.ROOT / "fuzz/CMakeLists.txt").read_text()
    return re.findall(r"^menura_fuzz\((\w+)", text, re.M)


def fuzz_all(targets, seconds=None):
    """Builds and runs the targets, as many at once as there are processors. Returns the exit status."""
    build.build("asan", [f"fuzz_{target}" for target in targets])
    with ThreadPoolExecutor(tree.jobs()) as pool:
        return 0 if all(list(pool.map(lambda target: fuzz(target, seconds), targets))) else 1


# Without a time: inputs that are the same each time, so that the verdict is too.
SAME_RUNS = ["-runs=3000", "-seed=1", "-max_len=2048"]


def fuzz(target, seconds=None):
    """Runs one built fuzz target; new inputs of a timed run and crashes are kept in build/fuzz/. Returns whether nothing was found."""
    crashes = tree.ROOT / "build/fuzz/crashes"
    crashes.mkdir(parents=True, exist_ok=True)
    seeds = tree.ROOT / "fuzz/seeds" / target
    command = [str(tree.build_dir("asan") / f"bin/fuzz_{target}"), *([f"-max_total_time={seconds}"] if seconds else SAME_RUNS),
               "-timeout=30", "-rss_limit_mb=2048", f"-artifact_prefix={crashes}/{target}-", "-print_final_stats=1"]
    if seconds:
        corpus = tree.ROOT / "build/fuzz/corpus" / target
        corpus.mkdir(parents=True, exist_ok=True)
        command.append(str(corpus))
    if seeds.is_dir():
        command.append(str(seeds) if seconds else f"-seed_inputs={','.join(map(str, sorted(seeds.iterdir())))}")
    done = subprocess.run(command, cwd=tree.ROOT, env=environment("asan"), text=True, errors="replace",
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    runs = re.search(r"number_of_executed_units:\s*(\d+)", done.stdout)
    if done.returncode or not runs:
        print(*done.stdout.splitlines()[-60:], sep="\n")
        print(f"fuzz {target}: FAILED; inputs that fail are in build/fuzz/crashes/", flush=True)
        return False
    print(f"fuzz {target}: {runs[1]} inputs, nothing found", flush=True)
    return True


def bench_suites():
    """{suite: command}: programs of bench/CMakeLists.txt and scripts bench/NAME.py."""
    text = (tree.ROOT / "bench/CMakeLists.txt").read_text()
    folder = tree.build_dir("bench")
    suites = {name: [str(folder / f"bin/bench_{name}"), "--benchmark_out_format=json",
                     f"--benchmark_out={folder}/results/{name}.json"]
              for name in re.findall(r"^menura_bench\((\w+)", text, re.M)}
    scripts = {path.stem: ["python3", "-B", str(path)] for path in sorted((tree.ROOT / "bench").glob("*.py"))}
    return {**suites, **scripts}


def bench(names):
    suites = bench_suites()
    build.build("bench")
    (tree.build_dir("bench") / "results").mkdir(exist_ok=True)
    status = 0
    for name in names or suites:
        print(f"\nsuite {name}", flush=True)
        status |= subprocess.run(suites[name], cwd=tree.ROOT, env=environment("bench")).returncode != 0
    return status


def soak_tests():
    """Executable files of tests/soak/, by name without suffix. Exit status 77 means skipped."""
    folder = tree.ROOT / "tests/soak"
    found = sorted(folder.glob("*")) if folder.is_dir() else []
    return {path.stem: path for path in found if path.is_file() and os.access(path, os.X_OK)}


def soak(names):
    tests = soak_tests()
    build.build("release")
    tally = build.Tally()
    for name in names or tests:
        start = time.monotonic()
        status = subprocess.run([str(tests[name])], cwd=tree.ROOT, env=environment("release")).returncode
        verdict = {0: "passed", 77: "SKIPPED"}.get(status, "FAILED")
        print(f"soak {name}: {verdict} in {time.monotonic() - start:.0f} s", flush=True)
        tally.add(build.Tally(passed=status == 0, skipped=status == 77, failed=status not in (0, 77)))
    return tally.report()
