"""An object in the user's editor: a file of its own, and what came back."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import tempfile

from hyperd.client.yamltext import dump
from hyperd.errors import BadRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

_COMMENT = "# "
_HINT = "Save and leave to go on; leave it unchanged, or empty, to drop it. Lines that begin with # do not count."


class Unchanged(Exception):
    """The editor was left without a change, or with an empty file."""


def command() -> list[str]:
    """``$VISUAL``, ``$EDITOR``, or vi. Raises BadRequest for what no shell would understand."""
    text = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        return shlex.split(text) or ["vi"]
    except ValueError as err:
        raise BadRequest(f"EDITOR={text!r} cannot be understood: {err}.") from err


def edited(obj: Object, *, complaint: str = "", text: str = "") -> tuple[Object, str]:
    """``obj`` (or ``text``, an earlier attempt) as the user left it, and its text. Blocking.

    Raises Unchanged, and BadRequest where the editor fails.
    """
    body = text or dump(obj)
    notes = [_HINT, *(f"! {line}" for line in complaint.splitlines())]
    content = "".join(f"{_COMMENT}{line}\n" for line in notes) + body
    descriptor, path = tempfile.mkstemp(prefix="hv-edit-", suffix=".yaml")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
            file.write(content)
        words = [*command(), path]
        try:
            ended = subprocess.run(words, check=False).returncode
        except OSError as err:
            raise BadRequest(f"The editor {words[0]} cannot be run: {err.strerror}. Set EDITOR.") from err
        if ended:
            raise BadRequest(f"The editor {words[0]} ended with {ended}; nothing was changed.")
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            back = file.read()
    finally:
        os.unlink(path)
    left = "".join(line for line in back.splitlines(keepends=True) if not line.startswith("#"))
    if not left.strip() or left == body:
        raise Unchanged
    return parsed(left), left


def parsed(text: str) -> Object:
    """The one object of a YAML text. Raises BadRequest."""
    import yaml

    try:
        found = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError, ValueError) as err:
        raise BadRequest(f"This is no YAML: {err}") from err
    if not isinstance(found, dict) or not isinstance(found.get("metadata") or {}, dict):
        raise BadRequest("This is no object: it needs apiVersion, kind and metadata.")
    # What YAML takes for a date is text to the API.
    kept: Object = json.loads(json.dumps(found, default=str))
    return kept
