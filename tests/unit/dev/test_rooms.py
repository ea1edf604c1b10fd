"""What pytest's processes are given: a cluster or a daemon that tests share is not made in each of them."""

from __future__ import annotations

import pytest

from tests.rooms import room


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ("tests/unit/api/test_server.py::test_a[1]", "tests/unit/api/test_server.py"),
        ("tests/cluster/installed/test_peers.py::test_a", "tests/cluster/installed"),
        ("tests/cluster/installed/test_upkeep.py::test_a[kubernetes]", "tests/cluster/installed"),
        ("tests/host/machine/test_lifecycle.py::test_a[embedded]", "tests/host/machine/test_lifecycle.py"),
        ("tests/host/machine/test_lifecycle.py::test_a[kubernetes]", "tests/host/machine (kubernetes)"),
        ("tests/host/machine/test_outage.py::test_a[kubernetes]", "tests/host/machine (kubernetes)"),
        ("tests/host/machine/test_crashes.py::test_a[vm.x-y]", "tests/host/machine/test_crashes.py::test_a"),
    ],
)
def test_what_shares_something_costly_stays_together(test: str, expected: str) -> None:
    assert room(test) == expected
