"""What a pool's folder says of itself, in a hidden file: that it is a pool, which one, and of which format.

By its number a daemon refuses what only a later one understands; by its id it tells a pool from the empty folder
that is left where a file system is not mounted. Blocking calls.
"""

from __future__ import annotations

import uuid
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from hyperd import durable
from hyperd.errors import PermanentError, TemporaryError
from hyperd.imagefile import files

FILE = ".hyperd-pool"
_LIMIT_BYTES = 4096


@dataclass(frozen=True, slots=True)
class PoolMark:
    """``format`` counts from 1: what is in the folder is understood by who knows that number."""

    id: str
    format: int


def new(format_: int) -> PoolMark:
    """Of a pool that has none yet."""
    return PoolMark(str(uuid.uuid4()), format_)


def read(path: Path) -> PoolMark | None:
    """The mark in the file ``path``; None where there is none.

    PermanentError for a damaged one, TemporaryError where nobody can tell now.
    """
    try:
        with files.open_regular(path) as file:
            body = orjson.loads(file.read(_LIMIT_BYTES))
        return PoolMark(str(body["id"]), int(body["format"]))
    except FileNotFoundError:
        return None
    except OSError as err:
        raise TemporaryError(f"{path} cannot be read: {err.strerror}.") from err
    except (ValueError, KeyError, TypeError) as err:
        raise PermanentError(
            f"{path}, which says of which format the volumes there are, is damaged. If no later hyperd has used "
            "them, remove it: it is made anew."
        ) from err


def write(path: Path, mark: PoolMark) -> None:
    """Durably. Raises OSError."""
    durable.write(path, orjson.dumps(asdict(mark)), made=files.temporary(path))


def require_known(folder: Path, mark: PoolMark | None, known: int) -> None:
    """PermanentError where the folder is of a later format than ``known``."""
    if mark is not None and mark.format > known:
        raise PermanentError(
            f"The volumes in {folder} are of format {mark.format}; this hyperd knows up to {known}, and would "
            "damage them. Install the later hyperd again."
        )
