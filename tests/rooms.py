"""Which tests stay in one process, in the order that they have alone, where several processes share the work.

Each process has a libvirt host of its own (``tests/host/node.py``) and starts a control plane of its own when it
comes to a test that needs one, so what runs side by side meets only on the processors.
"""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

_BY_FILE = ("tests/unit/", "tests/tui/", "tests/host/machine/", "tests/host/registry/")
"""Their files share little. The files of other folders share what takes long to make."""
_BY_FUNCTION = ("tests/host/machine/test_crashes.py",)
"""Files that take many minutes, and whose tests share nothing."""


class Rooms(LoadScopeScheduling):  # type: ignore[misc]  # has no types
    """Gives out whole folders of tests, or whole files."""

    def _split_scope(self, nodeid: str) -> str:
        return room(nodeid)


def room(nodeid: str) -> str:
    """The name of what one process runs with no other tests between."""
    file, _, test = nodeid.partition("::")
    folder = file.rpartition("/")[0]
    if file in _BY_FUNCTION:
        return f"{file}::{test.partition('[')[0]}"
    # One daemon in a control plane is for all tests of a machine's life there.
    if folder == "tests/host/machine" and test.endswith("[kubernetes]"):
        return f"{folder} (kubernetes)"
    return file if file.startswith(_BY_FILE) else folder
