"""What ./dev test runs and says, with a pytest that only writes down how it was called."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
PYTHON = """#!/usr/bin/env bash
[[ $1 == -m ]] || exec python3 "$@"
echo "${*:3}" >>calls
number=$(wc -l <calls)
mkdir -p .pytest_cache/v/cache
[[ $* != *--cache-clear* ]] || rm -f .pytest_cache/v/cache/lastfailed
[[ ! -e failed.$number ]] || cp failed.$number .pytest_cache/v/cache/lastfailed
exit "$(sed -n ${number}p codes)"
"""


def run(root: Path, *arguments: str, codes: tuple[int, ...]) -> tuple[int, list[str], str]:
    """Exit code, pytest's calls and the last line of ``./dev test``, where pytest ends with ``codes`` in turn."""
    python = root / "venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(PYTHON)
    python.chmod(0o755)
    (root / "codes").write_text("".join(f"{code}\n" for code in codes))
    head = (
        f"set -euo pipefail; shopt -s inherit_errexit; ROOT={root} VENV={root}/venv WORK={root} STEP=0 STEPS=1\n"
    )
    head += f'. "{ROOT}/tools/steps.sh"; . "{ROOT}/tools/checks.sh"; prepare() {{ :; }}; lint() {{ :; }}\n'
    done = subprocess.run(
        ["bash", "-c", f'{head} tests "$@"', "dev", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, (root / "calls").read_text().splitlines(), done.stderr.splitlines()[-1]


def test_what_needs_no_guest_runs_first_and_all_the_rest_after_it(tmp_path: Path) -> None:
    code, (first, second), said = run(tmp_path, codes=(0, 0))
    assert code == 0
    assert first.startswith("--cache-clear tests/unit tests/tui --numprocesses ")
    assert second.startswith("--ignore=tests/unit --ignore=tests/tui --numprocesses ")
    assert "Warning" not in said


@pytest.mark.parametrize(
    ("codes", "warning"),
    [((1, 1, 0), "2 test(s) passed only when they"), ((1, 0, 1), "2 test(s) had to be run once more")],
)
def test_what_failed_in_either_part_is_repeated_and_the_last_line_counts_it(
    tmp_path: Path, codes: tuple[int, ...], warning: str
) -> None:
    (tmp_path / "failed.2").write_text('{"tests/unit/a.py::one": true, "tests/host/b.py::two": true}')
    code, calls, said = run(tmp_path, codes=codes)
    assert code == codes[-1]
    assert calls[2:] == ["--last-failed --last-failed-no-failures=none"]
    assert warning in said


def test_a_pytest_that_could_not_work_ends_the_run(tmp_path: Path) -> None:
    code, calls, _ = run(tmp_path, codes=(3,))
    assert (code, len(calls)) == (3, 1)


def test_one_may_ask_for_the_fast_ones_or_for_any(tmp_path: Path) -> None:
    _, (fast,), _ = run(tmp_path / "fast", "fast", "-x", codes=(0,))
    assert re.fullmatch("tests/unit tests/tui --numprocesses [0-9]+ --maxprocesses 8 --dist loadscope -x", fast)
    _, (chosen,), _ = run(tmp_path / "chosen", "tests/host", "-k", "b", codes=(0,))
    assert chosen == "tests/host -k b"
