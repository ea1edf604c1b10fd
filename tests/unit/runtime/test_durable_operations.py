"""Durable operations: what a crash, a deletion, a failure or a deadline leaves of them, at every place."""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hyperd import clock
from tests.unit.runtime.building import DEADLINE_SECONDS, Home, create, delete, files, live, log, stored

WHOLE = ["foundation", "roof", "walls"]
PLACES = range(1, 14)
"""Three steps with four places each, and the end."""


def under_way(home: Home) -> bool:
    """One of its steps hangs, and its intent is written."""
    return home.settled() or (bool(log(home.world)) and log(home.world)[-1] == "walls")


def test_every_place_is_tried(tmp_path: Path) -> None:
    killed = []
    for place in itertools.count(1):
        create(tmp_path / str(place))
        if not live(tmp_path / str(place), crash_at=place):
            break
        killed.append(place)
    assert killed == list(PLACES)


@pytest.mark.parametrize("place", PLACES)
def test_a_life_after_the_crash_does_what_is_missing_and_no_more(tmp_path: Path, place: int) -> None:
    create(tmp_path)
    assert live(tmp_path, crash_at=place)
    made = set(files(tmp_path)) & set(WHOLE)
    before = len(log(tmp_path))
    live(tmp_path)
    assert files(tmp_path) == WHOLE
    assert stored(tmp_path)["status"] == {"phase": "Ready"}
    assert not made & set(log(tmp_path)[before:]), "a step that was done is not done again"


@pytest.mark.parametrize("place", PLACES)
def test_what_is_deleted_after_a_crash_leaves_nothing(tmp_path: Path, place: int) -> None:
    create(tmp_path)
    assert live(tmp_path, crash_at=place)
    delete(tmp_path)
    live(tmp_path)
    assert [name for name in files(tmp_path) if name in WHOLE or name.startswith(".")] == []
    assert not (tmp_path / "object").exists()


@pytest.mark.parametrize("place", range(1, 4))
def test_a_crash_while_it_is_undone(tmp_path: Path, place: int) -> None:
    create(tmp_path, walls="hangs")
    live(tmp_path, until=under_way)
    assert files(tmp_path) != []
    delete(tmp_path)
    assert live(tmp_path, crash_at=place)
    live(tmp_path)
    assert files(tmp_path) == []
    assert not (tmp_path / "object").exists()


@pytest.mark.parametrize("place", range(1, 14))
def test_a_crash_of_one_that_is_refused(tmp_path: Path, place: int) -> None:
    create(tmp_path, walls="refuses")
    live(tmp_path, crash_at=place)
    live(tmp_path)
    assert stored(tmp_path)["status"] == {"phase": "Failed", "message": "walls is refused."}
    assert files(tmp_path) == []


def test_one_that_fails_is_tried_again_from_the_step_that_failed(tmp_path: Path) -> None:
    create(tmp_path, walls="fails")
    live(tmp_path)
    assert stored(tmp_path)["status"]["phase"] == "Ready"
    assert log(tmp_path) == ["foundation", "walls", "walls", "roof"]


@pytest.mark.parametrize(
    ("spec", "words"),
    [({"walls": "breaks"}, "a defect"), ({"end": "breaks"}, "a defect"), ({"end": "fails"}, "It is gone again.")],
)
def test_a_defect_waits_for_its_next_try_as_a_failure_does(
    tmp_path: Path, spec: dict[str, str], words: str
) -> None:
    create(tmp_path, **spec)
    live(tmp_path, until=lambda home: home.settled() or stored(tmp_path)["status"].get("failures", 0) >= 3)
    status = stored(tmp_path)["status"]
    assert (status["phase"], status["failures"]) == ("Building", 3)
    assert words in status["message"]
    assert log(tmp_path).count("foundation") == 1, "what was done is not done again"
    delete(tmp_path)
    live(tmp_path)
    assert files(tmp_path) == []


async def test_what_failed_by_a_defect_is_in_the_log_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    create(tmp_path, foundation="breaks")
    await Home(tmp_path).live(lambda _: bool(stored(tmp_path)["status"].get("failures")))
    (told,) = [record for record in caplog.records if record.exc_info]
    assert "Build" in told.getMessage()
    assert "nobody thought of that" in caplog.text


async def test_nothing_is_begun_by_a_record_that_nobody_wrote(tmp_path: Path) -> None:
    create(tmp_path, foundation="hangs")
    first = Home(tmp_path)
    await first.live(lambda _: bool(log(tmp_path)))
    home, begun = Home(tmp_path), len(log(tmp_path))
    lost = stored(tmp_path)
    await home.operations.advance(lost, "Build")
    assert lost["status"]["operation"]["epoch"] == 2
    home.operations.written(stored(tmp_path))
    home.waits.waits = 5.0
    await home.operations.advance(seen := stored(tmp_path), "Build")
    assert seen["status"]["operation"]["epoch"] == 1
    home.operations.written(seen)
    assert not home.operations.running(seen)
    await asyncio.sleep(0)
    assert len(log(tmp_path)) == begun
    await home.operations.close()


async def test_one_that_ends_after_its_deadline_is_not_looked_at_all_the_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    create(tmp_path, foundation="hangs")
    home = Home(tmp_path)
    await home.reconcile()
    now = clock.elapsed() + DEADLINE_SECONDS + 1
    monkeypatch.setattr(clock, "elapsed", lambda: now)
    result = await home.reconcile()
    assert result is not None
    assert (result.requeue_after or 0) >= 1
    await home.operations.close()


def test_a_restart_takes_up_the_same_operation(tmp_path: Path) -> None:
    create(tmp_path, walls="hangs")
    live(tmp_path, until=under_way)
    first = stored(tmp_path)["status"]["operation"]
    assert (first["step"], first["epoch"]) == ("walls", 1)
    live(tmp_path, until=under_way)
    second = stored(tmp_path)["status"]["operation"]
    assert (second["opUid"], second["step"], second["epoch"]) == (first["opUid"], "walls", 2)
    assert log(tmp_path).count("foundation") == 1


@pytest.mark.parametrize("place", range(1, 6))
def test_what_the_state_of_an_object_asks_for_is_begun_and_taken_up(tmp_path: Path, place: int) -> None:
    create(tmp_path, paint="red")
    live(tmp_path)
    painted = lambda _: (tmp_path / "paint").exists() and "operation" not in stored(tmp_path)["status"]  # noqa: E731
    live(tmp_path, crash_at=place, until=painted)
    live(tmp_path, until=painted)
    assert files(tmp_path) == sorted([*WHOLE, "paint"])
    assert stored(tmp_path)["status"] == {"phase": "Ready"}


def test_a_deadline_counts_while_no_daemon_lives(tmp_path: Path) -> None:
    create(tmp_path, walls="hangs")
    live(tmp_path, until=under_way)
    live(tmp_path, later=DEADLINE_SECONDS - 60, until=under_way)
    assert stored(tmp_path)["status"]["phase"] == "Building"
    live(tmp_path, later=DEADLINE_SECONDS + 1)
    assert stored(tmp_path)["status"]["phase"] == "Failed"
    assert "within 3600 seconds" in stored(tmp_path)["status"]["message"]
    assert files(tmp_path) == []


def test_a_deadline_goes_on_from_what_was_noted_after_a_boot(tmp_path: Path) -> None:
    create(tmp_path, walls="hangs")
    live(tmp_path, until=under_way)
    live(tmp_path, later=DEADLINE_SECONDS - 60, until=under_way)
    # Another boot, whose clock begins anew: a minute is left, whatever it says.
    live(tmp_path, later=-1.0, boot="another", until=under_way)
    operation = stored(tmp_path)["status"]["operation"]
    assert 0 < operation["remaining"] <= 60
    assert operation["timer"]["boot"] == "another"
    live(tmp_path, later=60.0, boot="another")
    assert stored(tmp_path)["status"]["phase"] == "Failed"


@settings(max_examples=20, deadline=None)
@given(
    crashes=st.lists(st.integers(1, 14), max_size=4),
    moods=st.dictionaries(st.sampled_from(WHOLE), st.sampled_from(["fails", "refuses"]), max_size=2),
    deleted_after=st.none() | st.integers(0, 4),
)
def test_any_sequence_of_crashes_failures_and_a_deletion(
    crashes: list[int], moods: dict[str, str], deleted_after: int | None
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        world = Path(folder)
        create(world, **moods)
        for number, place in enumerate(crashes):
            if number == deleted_after:
                delete(world)
            live(world, crash_at=place)
        if deleted_after is not None:
            delete(world)
        live(world)
        left = [name for name in files(world) if not name.startswith("failed-")]
        if deleted_after is not None:
            assert not (world / "object").exists()
            assert left == [] or left == WHOLE, "a finished one is the object's, which goes with it"
            return
        status = stored(world)["status"]
        if "refuses" in moods.values():
            assert status["phase"] == "Failed"
            assert left == []
        else:
            assert (left, status) == (WHOLE, {"phase": "Ready"})
        assert "operation" not in status
