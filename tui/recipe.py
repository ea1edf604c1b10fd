"""How one kind is made: what its form asks for, and with what it begins."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hyperd.client.kinds import built_in
from hyperd.client.origin import origin
from hyperd.errors import BadRequest
from tui.draft import Draft, Field, put, value_at, words_at
from tui.shelf import Object

_OF_CONTENT = ("virtualimages", "clustervirtualimages", "virtualdisks", "virtualdisksnapshots")
SHORT = {one.short: one.kind for one in built_in() if one.plural in _OF_CONTENT}
PLURALS = {one.plural: one.short for one in built_in() if one.plural in _OF_CONTENT}


@dataclass(frozen=True)
class Recipe:
    """``begin`` gives the spec that one starts with; ``fields`` are asked for after name and namespace."""

    fields: tuple[Field, ...]
    begin: Callable[[], Object]
    rename: Callable[[Draft, str], None] | None = None
    """Gives the main object another name, and what is named after it; None where nothing is."""


def source(obj: Object | None) -> str:
    """A ``dataSource`` as somebody types it: ``vi/debian``, ``https://…``, ``docker://…``, ``upload``."""
    found = value_at(obj, ("spec", "dataSource"))
    kind = words_at(found, ("type",))
    if kind == "HTTP":
        return words_at(found, ("http", "url"))
    if kind == "ContainerImage":
        return f"docker://{words_at(found, ('containerImage', 'image'))}"
    if kind == "ObjectRef":
        of, name = words_at(found, ("objectRef", "kind")), words_at(found, ("objectRef", "name"))
        return next((f"{short}/{name}" for short, known in SHORT.items() if known == of), "")
    return "upload" if kind == "Upload" else ""


def have_source(obj: Object, text: str, among: tuple[str, ...]) -> None:
    """Have ``obj`` made of what ``text`` says; ``among`` are the short words of what it may refer to.

    Raises BadRequest for what is none of them.
    """
    short, slash, name = text.partition("/")
    made: Object | None
    if not text or text == "blank":
        made = None
    elif (made := origin(text)) is not None:
        pass
    elif text == "upload":
        made = {"type": "Upload"}
    elif slash and name and short in among:
        made = {"type": "ObjectRef", "objectRef": {"kind": SHORT[short], "name": name}}
    else:
        words = ", ".join(f"{each}/NAME" for each in among)
        raise BadRequest(f"write {words}, https://…, docker://REGISTRY/REPOSITORY:TAG or upload")
    before = value_at(obj, ("spec", "dataSource"))
    if made is not None and isinstance(before, dict) and before.get("type") == made["type"]:
        for branch, inner in made.items():  # what else is said of it stays, as a checksum or credentials
            if isinstance(inner, dict) and isinstance(before.get(branch), dict):
                made[branch] = {**before[branch], **inner}
    put(obj, ("spec", "dataSource"), made)


def from_source(among: tuple[str, ...], choices: str, help_: str, words: tuple[str, ...]) -> Field:
    """The box that says of what the main object is made."""
    return Field(
        "from", ("spec", "dataSource"), lambda draft: source(draft.main),
        lambda draft, text: have_source(draft.main, text, among),
        choices=tuple(choices.split()), help=help_, words=words,
    )  # fmt: skip
