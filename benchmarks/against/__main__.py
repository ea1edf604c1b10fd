"""Run both checkouts' benchmarks in turns; the exit status is 1 when a cost is worse by more than 5 %.

Costs are CPU seconds, peak memory of the largest process and bytes written, each of a benchmark's whole tree of
processes, and of its figures those that count (bytes, memory, writes). Times and rates are told beside, and judge
nothing. A benchmark that runs for a fixed time shows in its rates what it took. The commit's benchmarks are its
own, run from a ``git worktree`` by the same Python and packages; ``--quick`` shortens both sides' alike.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.against.compare import compare

ROOT = Path(__file__).parents[2]
COUNTED = frozenset({"MiB", "writes per machine"})
"""Units of figures that are costs and no times; figures of CPU time have "cpu" in their names."""
WALL = "wall"
QUICK = {"ROUNDS": 2, "RUNS": 10, "SECONDS": 0.3, "WATCH_SECONDS": 2, "LISTS": 3, "MACHINES": 200}
"""Constants of benchmarks' modules, where they have them."""
_RUN = """
import asyncio, importlib, inspect, json, sys
module, constants = importlib.import_module("benchmarks." + sys.argv[1]), json.loads(sys.argv[2])
for name, value in constants.items():
    if hasattr(module, name):
        setattr(module, name, min(value, getattr(module, name)))
asyncio.run(module.main()) if inspect.iscoroutinefunction(module.main) else module.main()
"""
Costs = dict[str, float]


def benchmarks(checkout: Path) -> list[str]:
    """Modules that run by themselves."""
    return sorted(
        path.stem
        for path in (checkout / "benchmarks").glob("*.py")
        if '\nif __name__ == "__main__":' in path.read_text()
    )


def measure(checkout: Path, name: str, constants: Mapping[str, float]) -> Costs:
    """One run of a benchmark; empty where it failed. Blocks until it ends."""
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", _RUN, name, json.dumps(constants)],
            cwd=checkout,
            env={**os.environ, "PYTHONPATH": str(checkout)},
            stdout=out,
        )
        try:
            _, _, used = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        process.returncode = 0  # it is reaped, which Popen must not try again
        out.seek(0)
        lines = out.read().splitlines()
    figures = [json.loads(line) for line in lines if line.startswith("{")]
    if not figures:
        return {}
    told = {_label(figure): float(figure["value"]) for figure in figures}
    return {**_usage(used), f"{WALL}: whole run, s": time.monotonic() - began, **told}


def _usage(used: resource.struct_rusage) -> Costs:
    written = used.ru_oublock * 512
    return {
        "CPU, s": used.ru_utime + used.ru_stime,
        "peak memory, MiB": used.ru_maxrss / 1024,
        "written, MiB": written / (1 << 20),
    }


def _label(figure: Mapping[str, object]) -> str:
    label = f"{figure['name']}, {figure['unit']}"
    return label if figure["unit"] in COUNTED or "cpu" in str(figure["name"]) else f"{WALL}: {label}"


@contextmanager
def worktree(commit: str) -> Iterator[Path]:
    """The commit's files. Raises CalledProcessError where there is no such commit."""
    with tempfile.TemporaryDirectory(prefix="hyperd-against-") as scratch:
        folder = Path(scratch) / "checkout"
        subprocess.run(["git", "-C", ROOT, "worktree", "add", "--quiet", "--detach", folder, commit], check=True)
        try:
            yield folder
        finally:
            subprocess.run(["git", "-C", ROOT, "worktree", "remove", "--force", folder], check=True)


def run(theirs: Path, names: Sequence[str], turns: int, constants: Mapping[str, float]) -> bool:
    """Whether nothing is worse. Prints each benchmark's figures when its turns are over."""
    bad: list[str] = []
    for name in names:
        found: dict[Path, dict[str, list[float]]] = {ROOT: defaultdict(list), theirs: defaultdict(list)}
        for turn in range(turns):
            print(f"{name}: turn {turn + 1} of {turns}", file=sys.stderr)
            sides = (ROOT, theirs) if turn % 2 else (theirs, ROOT)
            costs = {side: measure(side, name, constants) for side in sides}
            if not all(costs.values()):
                print(f"{name}: turn {turn + 1} failed, and does not count", file=sys.stderr)
                continue
            for side, one in costs.items():
                for label, value in one.items():
                    found[side][label].append(value)
        print(f"\n{name}: more (+) or less (-) than before, with 95 % intervals", flush=True)
        for label, values in found[ROOT].items():
            ratio = compare(values, found[theirs].get(label, []))
            print(f"  {label:<60} {ratio or 'not comparable'}", flush=True)
            if ratio and ratio.worse and not label.startswith(WALL):
                bad.append(f"  {name}: {label:<60} {ratio}")
        if not found[ROOT]:
            bad.append(f"  {name}: no turn of it succeeded on both sides")
    print("\nWorse by more than 5 % beyond the interval:", *(bad or ["  nothing"]), sep="\n")
    return not bad


def main() -> int:
    parser = argparse.ArgumentParser(prog="./dev bench against", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("commit")
    parser.add_argument("--only", metavar="NAME", action="append", help="one benchmark; may be given again")
    parser.add_argument("--turns", type=int, default=10, help="runs of each side (10)")
    parser.add_argument("--quick", action="store_true", help="shorter runs, of both sides alike")
    asked = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # the worktree goes in any case
    with worktree(asked.commit) as theirs:
        both = [name for name in benchmarks(ROOT) if name in benchmarks(theirs)]
        names = [name for name in asked.only or both if name in both]
        if not names:
            parser.error(f"both sides have {', '.join(both)}")
        return 0 if run(theirs, names, asked.turns, QUICK if asked.quick else {}) else 1


if __name__ == "__main__":
    sys.exit(main())
