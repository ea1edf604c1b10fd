"""The variable by which tests kill a daemon does nothing on a user's host."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

_REACH = "from hyperd.crashpoints import CrashPoint, reached; reached(CrashPoint.DISK_AFTER_FILE); print('alive')"
_WITHOUT_TESTS = f"import sys; sys.modules['pytest'] = None; {_REACH}"


@pytest.mark.parametrize(
    ("program", "code"), [(_REACH, -signal.SIGKILL), (_WITHOUT_TESTS, 0)], ids=["for tests", "for users"]
)
def test_a_crash_is_asked_for_only_where_the_tests_packages_are(program: str, code: int) -> None:
    env = {**os.environ, "HYPERD_CRASH_AT": "disk.after_file"}
    assert subprocess.run([sys.executable, "-c", program], env=env, check=False).returncode == code
