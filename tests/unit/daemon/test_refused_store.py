"""A store that is refused is told in one sentence, with exit status 1, and is left as it is."""

from __future__ import annotations

import logging
import os
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from hyperd import daemon
from hyperd.store.embedded.database import lock_store, open_database
from tests.testdriver.world import TEST_DRIVER


def _make(path: Path) -> None:
    """A store that was used."""
    open_database(path).close()


def _held(path: Path) -> None:
    _make(path)
    lock_store(path)


def _empty(path: Path) -> None:
    _make(path)
    path.write_bytes(b"")


def _missing(path: Path) -> None:
    _make(path)
    path.unlink()


def _foreign(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE songs(name TEXT)")
    connection.close()


def _newer(path: Path) -> None:
    _make(path)
    with sqlite3.connect(path) as connection:
        connection.create_function("meta_sum", 2, lambda *_: 0)
        connection.execute("UPDATE meta SET value = '999' WHERE key = 'schema_version'")
    connection.close()


def _damaged(path: Path) -> None:
    _make(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = os.urandom(len(content) - len(content) // 2)
    path.write_bytes(content)


def _text(path: Path) -> None:
    path.write_text("not a database\n" * 1000)


def _half(path: Path) -> None:
    _make(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _folder(path: Path) -> None:
    path.mkdir()


def _pipe(path: Path) -> None:
    os.mkfifo(path)


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _lock_is_folder(path: Path) -> None:
    path.with_name(f"{path.name}.lock").mkdir()


REFUSED: list[Callable[[Path], None]] = [
    _held, _empty, _missing, _foreign, _newer, _damaged, _text, _half, _folder, _pipe, _loop, _lock_is_folder,
]  # fmt: skip


@pytest.fixture
def folder() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="hvd"))
    (path / "s").mkdir()
    handlers = logging.root.handlers[:]
    yield path
    logging.root.handlers[:] = handlers
    shutil.rmtree(path, ignore_errors=True)


def _run(folder: Path) -> int:
    settings = {
        "node_name": "node", "instance": "refused", "config_dir": folder, "state_dir": folder / "s",
        "run_dir": folder / "r", "log_dir": folder / "l", "api.port": 0, "hypervisor.uri": "test:///default",
        "registry.url": "http://127.0.0.1:9",
    }  # fmt: skip
    arguments = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return daemon.main(arguments, world=TEST_DRIVER)


@pytest.mark.parametrize("spoil", REFUSED)
def test_a_refused_store_is_told_in_one_sentence(
    folder: Path, capfd: pytest.CaptureFixture[str], spoil: Callable[[Path], None]
) -> None:
    path = folder / "s" / "store.db"
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    assert _run(folder) == 1
    said = capfd.readouterr().err
    assert "Traceback" not in said
    sentence = said.splitlines()[-1]
    assert sentence.startswith("hyperd: ")
    assert str(path) in sentence
    assert "defect" not in said
    assert (path.read_bytes() if path.is_file() else None) == before


@pytest.mark.parametrize("name", ["s", "r", "l"])
def test_a_folder_that_is_none_is_told_in_one_sentence(
    folder: Path, capfd: pytest.CaptureFixture[str], name: str
) -> None:
    (folder / "s").rmdir()
    (folder / name).write_text("")
    assert _run(folder) == 1
    said = capfd.readouterr().err
    assert "Traceback" not in said
    assert str(folder / name) in said.splitlines()[-1]
