"""Drafts that the user keeps for later: ``$XDG_CONFIG_HOME/hyperd/templates/KIND/NAME.yaml``. Blocking."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from hyperd import durable
from hyperd.errors import BadRequest

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")
_MOST_BYTES = 1 << 20


def _folder(kind: str, environment: Mapping[str, str]) -> Path:
    base = environment.get("XDG_CONFIG_HOME") or ""
    folder = Path(base) if base.startswith("/") else Path(environment.get("HOME") or "/") / ".config"
    return folder / "hyperd" / "templates" / _checked(kind)


def names(kind: str, environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Those of a kind."""
    with suppress(OSError):
        found = (path.stem for path in _folder(kind, environment).glob("*.yaml"))
        return tuple(sorted(name for name in found if _NAME.match(name)))
    return ()


def read(kind: str, name: str, environment: Mapping[str, str] = os.environ) -> str:
    """The text of one. Raises BadRequest."""
    path = _folder(kind, environment) / f"{_checked(name)}.yaml"
    try:
        with path.open(encoding="utf-8") as file:
            return file.read(_MOST_BYTES)
    except (OSError, UnicodeDecodeError) as err:
        raise BadRequest(f"{path} cannot be read: {getattr(err, 'strerror', None) or err}.") from err


def write(kind: str, name: str, text: str, environment: Mapping[str, str] = os.environ) -> Path:
    """Keep one, in the place of one of the same name; returns where. Raises BadRequest."""
    path = _folder(kind, environment) / f"{_checked(name)}.yaml"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        durable.write(path, text.encode())
    except OSError as err:
        raise BadRequest(f"{path} cannot be written: {err.strerror}.") from err
    return path


def _checked(name: str) -> str:
    if not _NAME.match(name):
        raise BadRequest(f"{name!r} is no name of a template: letters, digits, and . _ - between them.")
    return name
