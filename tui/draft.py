"""What somebody is about to create: one object or several, as a form and as YAML sees it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from hyperd.client.editor import parsed
from hyperd.client.yamltext import dump
from hyperd.errors import BadRequest
from tui.shelf import Object

Path = tuple[str | int, ...]
_SEPARATOR = re.compile(r"(?m)^---[ \t]*$")


class Draft:
    """The objects in the order in which they are made; the last one is what it is all about."""

    def __init__(self, objects: Sequence[Object]) -> None:
        self.objects = list(objects)

    @property
    def main(self) -> Object:
        return self.objects[-1]

    @property
    def text(self) -> str:
        """All of it as YAML."""
        return "---\n".join(map(dump, self.objects))

    def read(self, text: str) -> None:
        """Be what a YAML text says. Raises BadRequest, and stays what it is."""
        objects = [parsed(part) for part in _SEPARATOR.split(text) if part.strip()]
        if not objects:
            raise BadRequest("Nothing is left that could be made.")
        for obj in objects:
            if not isinstance(obj.get("kind"), str) or not isinstance(obj.get("apiVersion"), str):
                raise BadRequest("This is no object: it needs apiVersion and kind.")
        self.objects = objects

    def beside(self, kind: str) -> Object | None:
        """The object of a kind that is made before the main one."""
        return next((obj for obj in self.objects[:-1] if obj.get("kind") == kind), None)

    @property
    def name(self) -> str:
        return words_at(self.main, ("metadata", "name"))


def value_at(obj: object, path: Path) -> object:
    """What is there; None where nothing is, or something of another shape."""
    for step in path:
        if isinstance(step, int):
            obj = obj[step] if isinstance(obj, list) and -len(obj) <= step < len(obj) else None
        else:
            obj = obj.get(step) if isinstance(obj, dict) else None
    return obj


def words_at(obj: object, path: Path) -> str:
    """The same as somebody types it; empty for what is no single value."""
    value = value_at(obj, path)
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value) if isinstance(value, str | int | float) else ""


def put(obj: Object, path: Path, value: object) -> None:
    """Have ``value`` there; None removes it, and what is empty after that above it."""
    *above, last = path
    if not above:
        if value is None:
            obj.pop(str(last), None)
        else:
            obj[str(last)] = value
        return
    first, rest = str(above[0]), path[1:]
    inner = obj.get(first)
    if not isinstance(inner, dict):
        if value is None:
            return
        inner = obj[first] = {}
    put(inner, rest, value)
    if value is None and not inner:
        del obj[first]


def _always(_: Draft) -> bool:
    return True


@dataclass(frozen=True)
class Field:
    """One box of the form.

    Attributes:
        path: Of the main object's field, for its help and for what the home says of it.
        get: What the box shows.
        put: Has the draft say what is typed. Raises BadRequest for what it cannot mean.
        kind: Of whom ``path`` is, where that is not the main object.
        choices: Of which kind, by plural, names can be chosen; several are told apart by a short word before them.
        shown: Whether the box is there.
    """

    label: str
    path: Path
    get: Callable[[Draft], str] = lambda _: ""
    put: Callable[[Draft, str], None] = lambda *_: None
    kind: str = ""
    choices: tuple[str, ...] = ()
    help: str = ""
    shown: Callable[[Draft], bool] = _always
    words: tuple[str, ...] = field(default=())
    """What to choose from beside ``choices``."""

    @property
    def name(self) -> str:
        """By which it is found."""
        return f"{self.kind}:{dotted(self.path)}"


def dotted(path: Iterable[str | int]) -> str:
    """``spec.blockDeviceRefs[0].name``, as a home writes it."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path).removeprefix(".")


def plain(label: str, path: str, *, kind: str = "", choices: str = "", type_: str = "", help_: str = "") -> Field:
    """A box for one value of the main object, or of the ``kind`` beside it.

    ``type_`` is OpenAPI's; what does not fit it is left as it is typed, for the home to judge.
    """
    steps: Path = tuple(path.split("."))

    def of(draft: Draft) -> Object | None:
        return draft.beside(kind) if kind else draft.main

    def have(draft: Draft, text: str) -> None:
        obj = of(draft)
        if obj is not None:
            put(obj, steps, typed(text, type_))

    return Field(
        label, steps, lambda draft: words_at(of(draft), steps), have, kind, tuple(choices.split()), help_,
        (lambda draft: of(draft) is not None) if kind else _always,
    )  # fmt: skip


def typed(text: str, type_: str) -> object:
    """What somebody typed, as what the field holds; None for nothing."""
    if not text:
        return None
    if type_ == "integer" and re.fullmatch(r"-?[0-9]{1,18}", text):
        return int(text)
    if type_ == "boolean" and text in ("true", "false"):
        return text == "true"
    return text
