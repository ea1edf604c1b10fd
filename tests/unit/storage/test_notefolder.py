"""Notes of a node, when somebody has been at their files."""

from __future__ import annotations

from pathlib import Path

import pytest

from hyperd.controllers.migration.notes import Note, Notes
from hyperd.errors import PermanentError
from hyperd.storage.departures import Departure, Departures

UID = "4fd3a9a0-0000-4000-8000-000000000001"
NOTE = Note(UID, "op", {"root": "u1"}, "shop", "web", "n1", went_on=True, shared=["u2"])


async def test_notes_are_found_again_and_forgotten(tmp_path: Path) -> None:
    notes = Notes(tmp_path / "arrivals")
    await notes.put(NOTE)
    assert await Notes(tmp_path / "arrivals").all() == {UID: NOTE}
    await notes.forget(UID)
    await notes.forget(UID)
    assert await Notes(tmp_path / "arrivals").all() == {}


@pytest.mark.parametrize("content", ["", "{", "[]", '{"uid": "x"}', "3"])
async def test_a_damaged_note_of_a_guest_that_came_is_told_and_no_reason_to_forget_it(
    tmp_path: Path, content: str
) -> None:
    await Notes(tmp_path).put(NOTE)
    (tmp_path / f"{UID}.json").write_text(content)
    with pytest.raises(PermanentError, match=f"{UID}.json, which says what was made .* or move it away"):
        await Notes(tmp_path).all()


async def test_a_damaged_note_of_what_a_volume_left_hides_no_other(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    departures, left = Departures(tmp_path), Departure("a", "b", "op")
    await departures.note(UID, left)
    await departures.note("other", left)
    (tmp_path / f"{UID}.json").write_text('["a"]')
    again = Departures(tmp_path)
    await again.begin()
    assert (again.get(UID, "a"), again.get("other", "a")) == (None, left)
    assert f"{UID}.json, which says what a volume has left, cannot be read" in caplog.text
