"""What a log line carries, and what it never does."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator

import pytest

from hyperd import logs
from hyperd.errors import PermanentError
from hyperd.settings import LogSettings


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


def lines(settings: LogSettings, *, level: int = logging.INFO, message: str = "said", **extra: object) -> str:
    stream = io.StringIO()
    logs.setup(settings, stream=stream)
    logging.getLogger("hyperd.part").log(level, message, extra=extra)
    return stream.getvalue()


def test_json_is_one_object_with_the_fields_of_extra() -> None:
    entry = json.loads(lines(LogSettings(), object="VirtualMachine default/web", milliseconds=3))
    assert entry["time"].endswith("Z")
    assert (entry["level"], entry["logger"], entry["message"]) == ("info", "hyperd.part", "said")
    assert (entry["object"], entry["milliseconds"]) == ("VirtualMachine default/web", 3)


def test_fields_that_are_not_declared_are_not_written() -> None:
    assert "s3cret" not in lines(LogSettings(), password="s3cret")


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.parametrize(
    "message",
    [
        "GET https://user:s3cret@host/image",
        "sent Authorization: Bearer s3cret",
        "authorization basic s3cret==",
    ],
)
def test_credentials_are_blanked(form: str, message: str) -> None:
    written = lines(LogSettings(format=form), message=message)
    assert "s3cret" not in written
    assert "…" in written


def test_text_cannot_be_forged_by_line_breaks_or_escapes() -> None:
    written = lines(LogSettings(format="text"), message="name\n2026 ERROR fake \x1b[2J")
    assert written.count("\n") == 1
    assert "\x1b" not in written


def test_records_within_a_request_carry_its_id() -> None:
    token = logs.request_id.set("r-1")
    try:
        assert json.loads(lines(LogSettings()))["request"] == "r-1"
    finally:
        logs.request_id.reset(token)


def test_a_traceback_stays_with_its_record() -> None:
    stream = io.StringIO()
    logs.setup(LogSettings(), stream=stream)
    try:
        raise ValueError("https://u:s3cret@host")
    except ValueError:
        logging.getLogger("hyperd").exception("failed")
    entry = json.loads(stream.getvalue())
    assert "ValueError" in entry["traceback"]
    assert "s3cret" not in entry["traceback"]


def test_the_journal_gets_priorities_and_no_second_time(tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    with (tmp_path / "journal").open("w+") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
        logs.setup(LogSettings(format="text"), stream=stream)
        logging.getLogger("hyperd").warning("low space")
        stream.seek(0)
        assert stream.read() == "<4>WARNING hyperd: low space\n"


def test_below_the_level_nothing_is_written() -> None:
    assert lines(LogSettings(level="warning")) == ""


def test_an_unknown_level_is_refused_with_the_choices() -> None:
    with pytest.raises(PermanentError, match=r"loud.*debug, info, warning, error"):
        logs.setup(LogSettings(level="loud"))
