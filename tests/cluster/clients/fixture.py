"""Builds what tests marked ``clients`` need, outside every test's time limit; never skips."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cluster.clients import build
from tests.cluster.controlplane.build import BuildError

_FAILURE = pytest.StashKey[BuildError]()


def prepare(session: pytest.Session) -> None:
    """Build the programs that the chosen tests name: ``pytest.mark.clients("informer")``."""
    if session.config.option.collectonly:
        return
    names = {name for item in session.items for mark in item.iter_markers("clients") for name in mark.args}
    for name in sorted(names):
        try:
            build.program(name)
        except BuildError as err:
            # Failing here would hide the tests that need none.
            session.stash[_FAILURE] = err
            return


def program(request: pytest.FixtureRequest, name: str) -> Path:
    """The built program; fails where it could not be built."""
    failure = request.session.stash.get(_FAILURE, None)
    if failure is not None:
        pytest.fail(str(failure), pytrace=False)
    return build.program(name)
