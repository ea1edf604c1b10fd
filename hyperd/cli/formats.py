"""``-o jsonpath=…``, ``-o custom-columns=…`` and ``--sort-by``: kubectl's, over the objects that were found."""

from __future__ import annotations

import json
import re

from hyperd.client import sanitize
from hyperd.errors import BadRequest
from hyperd.resources.values.jsonpath import find, value_at

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from typing import Any

    from hyperd.resources.schema.kind import Object

JSONPATH, COLUMNS = "jsonpath=", "custom-columns="
_GAP = "   "
_PART = re.compile(
    r"\{(?P<code>(?:[^{}\"']|\"(?:\\.|[^\"\\])*\"|'(?:\\.|[^'\\])*')*)\}|(?P<text>[^{]+)", re.DOTALL
)
_BRACKETS = re.compile(r"\[[^\]]*\]")
_NONE = "<none>"


def render(form: str, shown: Object, *, header: bool = True) -> str:
    """``shown``, an object or a List, in the form. Raises BadRequest for a template that is none."""
    try:
        if form.startswith(JSONPATH):
            return sanitize.text("".join(_expand(_parts(form.removeprefix(JSONPATH)), shown)))
        items = shown["items"] if isinstance(shown.get("items"), list) else [shown]
        return "".join(f"{line}\n" for line in columns(form.removeprefix(COLUMNS), items, header=header))
    except ValueError as err:
        raise BadRequest(f"{err}.") from err


def columns(spec: str, items: Sequence[Object], *, header: bool) -> list[str]:
    """A table of ``NAME:.metadata.name,IP:.status.ipAddress``. Raises BadRequest, ValueError."""
    titled = []
    for part in _split(spec):
        title, colon, path = part.partition(":")
        if not (title and colon and path):
            raise BadRequest(f"{COLUMNS}{spec}: {part!r} is not NAME:PATH, such as IP:.status.ipAddress.")
        titled.append((title, path))
    rows = [[sanitize.line(_words(find(path, item), ",") or _NONE) for _, path in titled] for item in items]
    if header:
        rows.insert(0, [sanitize.line(title) for title, _ in titled])
    widths = [max((len(row[i]) for row in rows), default=0) for i in range(len(titled))]
    return [_GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def by_path(path: str, items: list[Any], of: str = "") -> None:
    """Put ``items`` in the order of what stands at ``path`` (below ``of``): numbers and quantities as such.

    Raises BadRequest.
    """

    from hyperd.client.amounts import quantity  # not for a list that nobody sorts

    def place(item: Object) -> tuple[int, float, str]:
        value = value_at(item.get(of) if of else item, path)
        if value is None:
            return 2, 0.0, ""
        number = quantity(value)
        return (0, number, "") if number is not None else (1, 0.0, str(value))

    try:
        items.sort(key=place)
    except ValueError as err:
        raise BadRequest(f"--sort-by: {err}.") from err


def _split(spec: str) -> Iterator[str]:
    """At commas that stand in no brackets."""
    depth, part = 0, ""
    for char in spec:
        depth += (char == "[") - (char == "]")
        if char == "," and not depth:
            yield part
            part = ""
        else:
            part += char
    yield part


_Part = tuple[str, str, "list[_Part]"]
"""What it is (text, path, range), its text, and what a range repeats."""


def _parts(template: str) -> list[_Part]:
    """Raises ValueError."""
    if "{" not in template:
        template = f"{{{template}}}"
    stack: list[list[_Part]] = [[]]
    at = 0
    while at < len(template):
        match = _PART.match(template, at)
        if match is None:
            raise ValueError(f"JSONPath {template!r}: the brace at {template[at:][:20]!r} is not closed")
        at = match.end()
        if (text := match["text"]) is not None:
            stack[-1].append(("text", text, []))
            continue
        code = match["code"].strip()
        if code[:1] in ('"', "'"):
            stack[-1].append(("text", _unquoted(code), []))
        elif code.startswith("range "):
            inner: list[_Part] = []
            stack[-1].append(("range", _path(code.removeprefix("range ")), inner))
            stack.append(inner)
        elif code == "end":
            if len(stack) == 1:
                raise ValueError("JSONPath has an {end} without a {range}")
            stack.pop()
        else:
            stack[-1].append(("path", _path(code), []))
    if len(stack) > 1:
        raise ValueError("JSONPath has a {range} without an {end}")
    return stack[0]


def _unquoted(code: str) -> str:
    if len(code) < 2 or code[-1] != code[0]:
        raise ValueError(f"JSONPath has text without its second quote: {code}")
    found = json.loads('"' + code[1:-1].replace('"', '\\"').replace('\\\\"', '\\"') + '"')
    return str(found)


def _path(code: str) -> str:
    """Raises ValueError for several paths in one pair of braces, which would be the name of a field."""
    if any(char.isspace() or char == "," for char in _BRACKETS.sub("", code.strip())):
        raise ValueError(f"JSONPath {{{code}}} is not one path; each has its own braces")
    return code.strip().removeprefix("$").removeprefix("@")


def _expand(parts: Sequence[_Part], value: object) -> Iterator[str]:
    for what, text, inner in parts:
        if what == "text":
            yield text
        elif what == "range":
            for one in find(text, value):
                yield from _expand(inner, one)
        else:
            yield _words(find(text, value) if text and text != "." else [value])


def _words(values: Sequence[object], between: str = " ") -> str:
    """As kubectl writes them: in a template with a space between, in a column with a comma."""
    return between.join(value if isinstance(value, str) else _json(value) for value in values)


def _json(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
