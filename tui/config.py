"""What a user sets for the TUI: ``$XDG_CONFIG_HOME/hyperd/tui.toml``. Blocking, before the first frame."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hyperd.errors import BadRequest

THEMES = {
    "dark": "textual-dark",
    "light": "textual-light",
    "terminal": "ansi-dark",
    "terminal-light": "ansi-light",
}
"""Words for themes; Textual's own names are taken too. ``terminal`` has the terminal's own colours."""
_TOP = frozenset(("theme", "plain", "read_only", "low_bandwidth", "keys", "columns", "commands"))
_COMMAND = frozenset(("name", "run", "env", "key", "kinds", "help", "ask", "wait"))
_WORD = re.compile(r"[a-z][a-z0-9_-]{0,31}\Z")
_VARIABLE = re.compile(r"HV_[A-Z0-9_]{1,60}\Z")
_MOST_BYTES = 1 << 18


@dataclass(frozen=True)
class Command:
    """A program of the user's own for an object of ``kinds`` (any, where there is none)."""

    name: str
    run: tuple[str, ...]
    key: str = ""
    kinds: tuple[str, ...] = ()
    help: str = ""
    ask: bool = False
    """Whether to ask before."""
    wait: bool = True
    """Whether what it printed stays until a key is pressed."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables ``HV_...`` that it gets, which may say what its words may not."""


@dataclass(frozen=True)
class Config:
    """All of it; without a file, nothing."""

    theme: str = ""
    plain: bool = False
    read_only: bool = False
    low_bandwidth: bool = False
    keys: Mapping[str, str] = field(default_factory=dict)
    columns: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    commands: tuple[Command, ...] = ()


def path(environment: Mapping[str, str] = os.environ) -> Path:
    """Where it is."""
    base = environment.get("XDG_CONFIG_HOME") or ""
    folder = Path(base) if base.startswith("/") else Path(environment.get("HOME") or "/") / ".config"
    return folder / "hyperd" / "tui.toml"


def load(file: Path) -> Config:
    """What ``file`` says. Raises BadRequest with its name for what it cannot say."""
    try:
        with file.open("rb") as opened:
            content = opened.read(_MOST_BYTES)
    except FileNotFoundError:
        return Config()
    except OSError as err:
        raise BadRequest(f"{file} cannot be read: {err.strerror}.") from err
    import tomllib

    try:
        return read(tomllib.loads(content.decode()))
    except BadRequest as err:
        raise BadRequest(f"{file}: {err.message}") from err
    except ValueError as err:
        raise BadRequest(f"{file} is not TOML: {err}.") from err


def read(said: Mapping[str, object]) -> Config:
    """A document as a configuration. Raises BadRequest."""
    _known(said, _TOP, "it")
    return Config(
        theme=_text(said, "theme"),
        plain=_bool(said, "plain"),
        read_only=_bool(said, "read_only"),
        low_bandwidth=_bool(said, "low_bandwidth"),
        keys={key: _text(_table(said, "keys"), key) for key in _table(said, "keys")},
        columns={key: _texts(_table(said, "columns"), key) for key in _table(said, "columns")},
        commands=tuple(_command(each) for each in _tables(said, "commands")),
    )


def _command(said: Mapping[str, object]) -> Command:
    name = _text(said, "name")
    _known(said, _COMMAND, f"the command {name or '?'}")
    if not _WORD.match(name):
        raise BadRequest(f"{name!r} is no name of a command: a word in lower case")
    try:
        words = tuple(shlex.split(_text(said, "run")))
    except ValueError as err:
        raise BadRequest(f"the command {name} cannot be run: {err}") from err
    if not words:
        raise BadRequest(f"the command {name} does not say what to run")
    if "{" in words[0]:
        raise BadRequest(f"the command {name} must say itself which program it runs, not {words[0]}")
    env = {key: _text(_table(said, "env"), key) for key in _table(said, "env")}
    for key in env:
        if not _VARIABLE.match(key):
            raise BadRequest(f"the command {name} can set variables like HV_URL only, not {key}")
    return Command(
        name, words, _text(said, "key"), _texts(said, "kinds"), _text(said, "help"), _bool(said, "ask"),
        _bool(said, "wait", default=True), env,
    )  # fmt: skip


def _known(said: Mapping[str, object], names: frozenset[str], where: str) -> None:
    if unknown := sorted(set(said) - names):
        raise BadRequest(f"{where} has no {', '.join(unknown)}; there are {', '.join(sorted(names))}")


def _text(said: Mapping[str, object], key: str) -> str:
    value = said.get(key, "")
    if not isinstance(value, str) or not value.isprintable():
        raise BadRequest(f"{key} must be a text")
    return value


def _bool(said: Mapping[str, object], key: str, *, default: bool = False) -> bool:
    value = said.get(key, default)
    if not isinstance(value, bool):
        raise BadRequest(f"{key} must be true or false")
    return value


def _texts(said: Mapping[str, object], key: str) -> tuple[str, ...]:
    value = said.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, str) and each.isprintable() for each in value):
        raise BadRequest(f"{key} must be a list of texts")
    return tuple(value)


def _table(said: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = said.get(key, {})
    if not isinstance(value, dict):
        raise BadRequest(f"{key} must be a table")
    return value


def _tables(said: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    value = said.get(key, [])
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise BadRequest(f"{key} must be tables, written as [[{key}]]")
    return value
