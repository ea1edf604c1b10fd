"""Small notes of a node, a JSON file each, found again after a crash. Blocking; writing raises OSError."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import orjson

from hyperd import durable
from hyperd.errors import PermanentError
from hyperd.imagefile import files

T = TypeVar("T")
_NOTE: Final = re.compile(r"[a-z0-9][-a-z0-9]{0,62}\.json")
_LIMIT_BYTES: Final = 65536


class NoteFolder:
    """The notes at ``path``; ``about`` goes on after "which says"."""

    def __init__(self, path: Path, about: str) -> None:
        self.path = path
        self._about = about

    def names(self) -> list[str]:
        return [path.stem for path in files.named(self.path, _NOTE)]

    def read(self, name: str, parse: Callable[[bytes], T]) -> T:
        """What ``parse`` makes of a note's JSON. Raises PermanentError where that is none."""
        path = self._file(name)
        try:
            with files.open_regular(path) as file:
                return parse(file.read(_LIMIT_BYTES))
        except (OSError, ValueError, KeyError, TypeError) as err:
            said = f"{path}, which says {self._about}, cannot be read: {err}"
            raise PermanentError(f"{said}. Put it right, or move it away.") from err

    def write(self, name: str, body: object) -> None:
        """It is there durably, or as it was before."""
        path = self._file(name)
        self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        durable.write(path, orjson.dumps(body), made=files.temporary(path))

    def remove(self, name: str) -> None:
        """None is fine."""
        files.unlink(self._file(name))

    def _file(self, name: str) -> Path:
        return self.path / f"{name}.json"
