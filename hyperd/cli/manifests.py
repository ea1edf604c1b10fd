"""Manifests from files, folders and stdin: YAML or JSON, several documents a file, lists opened."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass, replace
from typing import Any

from hyperd.cli.sources import Fault, Source
from hyperd.errors import BadRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from hyperd.resources.schema.kind import Object

_BYTE_ORDER_MARKS = (
    (b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"),
    (b"\xef\xbb\xbf", "utf-8-sig"),
)  # fmt: skip
_TEXTS = ("apiVersion", "kind")
_FORMS = {
    str: "text",
    int: "a number",
    float: "a number",
    bool: "true or false",
    list: "a list",
    dict: "an object",
}
_MOST_LISTED = 100
_SUFFIXES = (".yaml", ".yml", ".json")


@dataclass(frozen=True)
class Manifest:
    """One object, and where it was written."""

    obj: Object
    source: Source
    document: int
    path: str
    """Of the object within its document: empty, or an entry of a list."""

    def fault(self, field: str, text: str) -> Fault:
        """``text``, said of ``field`` of this object."""
        path = f"{self.path}.{field}" if self.path and field else self.path or field
        return Fault(self.source.place(self.document, path), text)


def read(paths: list[str]) -> list[Manifest]:
    """Every object that the files hold, in order. Raises BadRequest that tells all faults with their places."""
    found, faults = collect(paths)
    if faults:
        raise refused(faults)
    return found


def collect(paths: list[str]) -> tuple[list[Manifest], list[Fault]]:
    """Every object that the files hold, in order, and what is no object. Raises BadRequest where there is none."""
    sources = [Source(name, content) for path in paths for name, content in _contents(path)]
    found: list[Manifest] = []
    faults: list[Fault] = []
    for source in sources:
        try:
            for number, document in source.documents():
                _take(Manifest(document, source, number, ""), found, faults)
        except RecursionError:
            source.faults.append(Fault(source.name, "it is nested too deeply"))
        faults += source.faults
    if not found and not faults:
        raise BadRequest(
            f"There is no object in {', '.join('standard input' if path == '-' else path for path in paths)}."
        )
    return found, faults


def refused(faults: Sequence[Fault]) -> BadRequest:
    """All ``faults``, a line each."""
    count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
    lines = [str(fault) for fault in faults[:_MOST_LISTED]]
    if more := len(faults) - len(lines):
        lines.append(f"and {more} more")
    return BadRequest("\n".join([f"The manifests have {count}; nothing was changed:", *lines]))


def _contents(path: str) -> list[tuple[str, str]]:
    if path == "-":
        try:
            return [("stdin", _decoded("stdin", sys.stdin.buffer.read()))]
        except OSError as err:
            raise BadRequest(f"Standard input cannot be read: {err.strerror}.") from err
    if os.path.isdir(path):
        names = sorted(name for name in os.listdir(path) if name.endswith(_SUFFIXES))
        if not names:
            raise BadRequest(f"The folder {path} holds no .yaml, .yml or .json file.")
        return [_file(os.path.join(path, name)) for name in names]
    return [_file(path)]


def _file(path: str) -> tuple[str, str]:
    try:
        with open(path, "rb") as file:
            return path, _decoded(path, file.read())
    except OSError as err:
        raise BadRequest(f"The manifest {path} cannot be read: {err.strerror}.") from err


def _decoded(name: str, content: bytes) -> str:
    """Text in the encoding that its first bytes tell, as YAML has it; the locale has no say in it."""
    encoding = next((encoding for mark, encoding in _BYTE_ORDER_MARKS if content.startswith(mark)), "")
    if not encoding:
        nulls = content[:4].find(b"\0")
        encoding = {0: "utf-16-be", 1: "utf-16-le"}.get(nulls, "utf-8") if len(content) > 1 else "utf-8"
    try:
        return content.decode(encoding)
    except UnicodeDecodeError as err:
        line = content[: err.start].count(b"\n") + 1
        raise BadRequest(f"The manifest {name}, line {line}: it is not {encoding.upper()} text.") from err


def _take(manifest: Manifest, found: list[Manifest], faults: list[Fault]) -> None:
    """Sort what was read into objects and faults; lists are opened."""
    document = manifest.obj
    if not isinstance(document, dict):
        faults.append(manifest.fault("", f"this is {_form(document)}, not an object"))
        return
    if document.get("kind") == "List" or (str(document.get("kind", "")).endswith("List") and "items" in document):
        items = document.get("items") or []
        if not isinstance(items, list):
            faults.append(manifest.fault("items", f"items is {_form(items)}, not a list"))
            return
        base = f"{manifest.path}.items" if manifest.path else "items"
        for index, item in enumerate(items):
            _take(replace(manifest, obj=item, path=f"{base}[{index}]"), found, faults)
        return
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not (metadata.get("name") or metadata.get("generateName")):
        kind = document.get("kind") or "no kind"
        faults.append(manifest.fault("metadata", f"an object ({kind}) without metadata.name"))
        return
    odd = [
        manifest.fault(key, f"{key} is {_form(value)}, not text; put text in quotes")
        for key, value in [*((key, document.get(key)) for key in _TEXTS), *_named(metadata)]
        if value is not None and not isinstance(value, str)
    ]
    faults += odd
    if not odd:
        found.append(manifest)


def _form(value: object) -> str:
    return _FORMS.get(type(value), "a value")


def _named(metadata: Object) -> list[tuple[str, Any]]:
    return [(f"metadata.{key}", metadata.get(key)) for key in ("name", "generateName", "namespace")]
