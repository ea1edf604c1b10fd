"""The script that starts, tests and stops everything: its words, and whom it takes for its own processes."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
SCRIPTS = ("dev", ".ci/run", "tools/steps.sh", "tools/host.sh", "tools/checks.sh")


def dev(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([ROOT / "dev", *arguments], capture_output=True, text=True, check=False, timeout=60)


def steps(work: Path, script: str) -> subprocess.CompletedProcess[str]:
    """Run ``script`` with the functions that ./dev has for its processes."""
    head = (
        f'set -euo pipefail; shopt -s inherit_errexit; WORK="{work}"; STEP=0; STEPS=1; . "{ROOT}/tools/steps.sh"\n'
    )
    return subprocess.run(["bash", "-c", head + script], capture_output=True, text=True, check=False, timeout=60)


def test_a_command_explains_itself_and_does_nothing() -> None:
    shown = dev("run", "--help")
    assert (shown.returncode, shown.stdout) == (0, dev("help").stdout)


def test_help_names_every_command() -> None:
    shown = dev("help")
    assert shown.returncode == 0
    for command in ("run", "cluster", "stop", "test", "lint", "bench"):
        assert f"\n  {command}" in shown.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("walk",), 'There is no command "walk"'),
        (("run", "--fast"), 'Unknown argument "--fast"'),
        (("run", "--state"), "--state needs a folder"),
        (("run", "--state", "/tmp/" + "x" * 80), "path of --state is too long"),
    ],
)
def test_a_wrong_call_gets_a_sentence_and_changes_nothing(arguments: tuple[str, ...], sentence: str) -> None:
    answer = dev(*arguments)
    assert answer.returncode == 1
    assert sentence in answer.stderr


def test_stop_where_nothing_runs_is_fine(tmp_path: Path) -> None:
    answer = dev("stop", "--state", "/tmp/hyperd-none")
    assert answer.returncode == 0
    assert "Nothing to stop" in answer.stderr


def test_a_process_is_ours_only_with_its_start_time(tmp_path: Path) -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    try:
        (tmp_path / "other.pid").write_text(f"{sleeper.pid} 1\n")
        (tmp_path / "broken.pid").write_text(f"{sleeper.pid}\n")
        script = f"remember ours {sleeper.pid}; alive ours; ! alive other; ! alive broken; ! alive none"
        assert steps(tmp_path, script).returncode == 0
        assert steps(tmp_path, "end other; end broken").returncode == 0
        assert sleeper.poll() is None
        assert not (tmp_path / "other.pid").exists()
        # Nobody collects the child meanwhile: a zombie counts as ended.
        assert steps(tmp_path, "end ours 10").stderr == ""
        assert sleeper.wait(10) == -15
    finally:
        sleeper.kill()
        sleeper.wait()


def test_a_process_that_ignores_the_request_is_killed_after_its_time(tmp_path: Path) -> None:
    script = """
        setsid bash -c 'trap "" TERM; echo deaf; while :; do sleep 0.1; done' >"$WORK/out" &
        child=$!
        remember stubborn "$child"
        until grep -q deaf "$WORK/out"; do sleep 0.05; done
        end stubborn 1
        ! kill -0 "$child" 2>/dev/null
        [[ ! -e $WORK/stubborn.pid ]]
    """
    answer = steps(tmp_path, script)
    assert answer.returncode == 0, answer.stderr
    assert "is killed" in answer.stderr


def test_a_failing_step_shows_the_end_of_its_log_and_where_it_is(tmp_path: Path) -> None:
    answer = steps(tmp_path, "quietly task bash -c 'echo the reason; exit 3'; echo not reached")
    assert answer.returncode == 1
    assert "the reason" in answer.stderr
    assert f"{tmp_path}/task.log" in answer.stderr
    assert "not reached" not in answer.stdout


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_the_scripts_are_clean_under_shellcheck() -> None:
    found = subprocess.run(
        ["shellcheck", "--external-sources", *SCRIPTS], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert found.stdout == ""
    assert all(os.access(ROOT / script, os.X_OK) for script in ("dev", ".ci/run", "tests/guest/build"))
