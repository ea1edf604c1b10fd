"""Output: tables, YAML, JSON and names. Everything that comes from a home passes the sanitizer here."""

from __future__ import annotations

import json
import sys

from hyperd.cli.stdio import fits
from hyperd.client import sanitize

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from hyperd.client.resource import Resource
    from hyperd.resources.schema.kind import Object

_GREEN, _YELLOW, _RED, _DIM, _RESET = "\x1b[32m", "\x1b[33m", "\x1b[31m", "\x1b[2m", "\x1b[0m"
_COLOUR = {
    **dict.fromkeys(("Running", "Ready", "Bound", "Attached", "Completed", "Active"), _GREEN),
    **dict.fromkeys(("Failed", "Degraded", "ImageLost", "PVCLost", "NotReady", "Unknown"), _RED),
    **dict.fromkeys(("Stopped", "Released", "Superseded"), _DIM),
}
_PHASE_COLUMNS = ("phase", "status")
_GAP = "   "


class TablePrinter:
    """Prints rows of server ``Table`` objects under one header; widths never shrink, so a watch stays aligned."""

    def __init__(
        self, *, wide: bool, namespaces: bool, colour: bool, prefix: str = "", header: bool = True
    ) -> None:
        self._wide = wide
        self._namespaces = namespaces
        self._colour = colour
        self._prefix = prefix
        self._header = header
        self._widths: list[int] = []

    def format(self, table: Object) -> list[str]:
        """The table's lines; a header comes first on the first call."""
        columns = table.get("columnDefinitions") or []
        shown = [i for i, column in enumerate(columns) if self._wide or not column.get("priority")]
        titles = [str(columns[i].get("name", "")).upper() for i in shown]
        rows = [self._cells(row, shown) for row in table.get("rows") or ()]
        if self._namespaces:
            titles.insert(0, "NAMESPACE")
        if not self._widths:
            self._widths = [0] * len(titles)
            if self._header:
                rows.insert(0, [sanitize.line(title) for title in titles])
        for row in rows:
            for i, cell in enumerate(row):
                self._widths[i] = max(self._widths[i], len(cell))
        phases = [i for i, title in enumerate(titles) if title.lower() in _PHASE_COLUMNS]
        return [self._line(row, phases) for row in rows]

    def _cells(self, row: Object, shown: Sequence[int]) -> list[str]:
        cells = row.get("cells") or []
        out = [sanitize.line(cell_text(cells[i])) if i < len(cells) else "" for i in shown]
        if self._prefix and out:
            out[0] = self._prefix + out[0]
        if self._namespaces:
            metadata = (row.get("object") or {}).get("metadata") or {}
            out.insert(0, sanitize.line(str(metadata.get("namespace", ""))))
        return out

    def _line(self, row: Sequence[str], phases: Sequence[int]) -> str:
        parts = []
        for i, cell in enumerate(row):
            padded = cell.ljust(self._widths[i])
            if self._colour and i in phases:
                padded = f"{_colour_of(cell)}{padded}{_RESET}"
            parts.append(padded)
        return _GAP.join(parts).rstrip()


def _colour_of(phase: str) -> str:
    return "" if phase.isupper() else _COLOUR.get(phase, _YELLOW)


def cell_text(value: object) -> str:
    """A table cell as text; booleans as Kubernetes writes them, nothing for null."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def emit(lines: Iterable[str]) -> None:
    """Print lines now, so that a reader of a pipe sees them as they come."""
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()


def json_text(value: object) -> str:
    """Indented JSON that keeps readable what people write, and escapes what a terminal would obey."""
    text = json.dumps(value, indent=2, ensure_ascii=False)
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(
        json.dumps(char)[1:-1] if char != "\n" and sanitize.hostile(char) and char != "\x7f"
        else "\\u007f" if char == "\x7f" else char
        for char in text
    )  # fmt: skip


def document(value: object, form: str) -> str:
    """An object or list as ``json`` or ``yaml`` text, with a newline at its end.

    Who owns which field is left out, as kubectl does: it is longer than all the rest.
    """
    value = _without_owners(value)
    if form == "json":
        text = json_text(value) + "\n"
    else:
        from hyperd.client.yamltext import dump

        text = dump(value)
    if text.isascii() or fits(text):
        return text
    # Both forms have such characters within double quotes alone, where they may be spelt.
    return "".join(char if char.isascii() or fits(char) else _spelt(char, form) for char in text)


def _spelt(char: str, form: str) -> str:
    if form == "json":
        return json.dumps(char)[1:-1]
    return f"\\u{ord(char):04x}" if ord(char) < 0x10000 else f"\\U{ord(char):08x}"


def _without_owners(value: object) -> Any:
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("items"), list):
        return {**value, "items": [_without_owners(item) for item in value["items"]]}
    metadata = value.get("metadata")
    if not isinstance(metadata, dict) or "managedFields" not in metadata:
        return value
    return {**value, "metadata": {key: kept for key, kept in metadata.items() if key != "managedFields"}}


def object_name(resource: Resource, name: str) -> str:
    """``virtualmachine/web-7``, as kubectl writes ``-o name`` without the group."""
    return f"{resource.singular}/{sanitize.line(name)}"
