"""Manifests from files, folders and stdin: YAML or JSON, several documents a file, lists opened."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

from hyperd.errors import BadRequest

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
_SUFFIXES = (".yaml", ".yml", ".json")


def read(paths: list[str]) -> list[dict[str, Any]]:
    """Every object that the files hold, in order. Raises BadRequest that names the file and the place."""
    found: list[dict[str, Any]] = []
    for path in paths:
        for name, content in _contents(path):
            try:
                for document in _documents(name, content):
                    found.extend(_objects(name, document))
            except RecursionError:
                raise BadRequest(f"The manifest {name} is nested too deeply.") from None
    if not found:
        raise BadRequest(
            f"There is no object in {', '.join('standard input' if path == '-' else path for path in paths)}."
        )
    return found


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


def _documents(name: str, content: str) -> list[Any]:
    if content.lstrip().startswith("{"):
        try:
            return [json.loads(content)]
        except ValueError:
            pass
    import yaml

    # Kubernetes reads YAML 1.1 but keeps times as text: a timestamp type would not survive as JSON.
    class Loader(yaml.SafeLoader):
        pass

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    try:
        return [document for document in yaml.load_all(content, Loader) if document is not None]
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        where = f" line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        problem = getattr(err, "problem", None) or "it is not YAML"
        raise BadRequest(f"The manifest {name}{where}: {problem}.") from err


def _objects(name: str, document: Any) -> list[dict[str, Any]]:
    if not isinstance(document, dict):
        raise BadRequest(f"The manifest {name} holds {_form(document)}, not an object.")
    if document.get("kind") == "List" or (str(document.get("kind", "")).endswith("List") and "items" in document):
        items = document.get("items") or []
        if not isinstance(items, list):
            raise BadRequest(f"The manifest {name}: items is {_form(items)}, not a list.")
        return [entry for item in items for entry in _objects(name, item)]
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or not (metadata.get("name") or metadata.get("generateName")):
        kind = document.get("kind") or "no kind"
        raise BadRequest(f"The manifest {name} holds an object ({kind}) without metadata.name.")
    for key, value in [*((key, document.get(key)) for key in _TEXTS), *_named(metadata)]:
        if value is not None and not isinstance(value, str):
            raise BadRequest(f"The manifest {name}: {key} is {_form(value)}, not text; put text in quotes.")
    return [document]


def _form(value: Any) -> str:
    return _FORMS.get(type(value), "a value")


def _named(metadata: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(f"metadata.{key}", metadata.get(key)) for key in ("name", "generateName", "namespace")]
