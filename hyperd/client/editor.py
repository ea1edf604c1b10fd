"""An object in the user's editor: a file of its own, and what came back."""

from __future__ import annotations

import os
import shlex
import subprocess
import tempfile
from contextlib import suppress

from hyperd.client.yamltext import dump, load
from hyperd.errors import BadRequest

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

_COMMENT = "# "
_HINT = "Save and leave to go on; leave it unchanged, or empty, to drop it. Lines that begin with # do not count."


class Unchanged(Exception):
    """The editor was left without a change, or with an empty file."""


class Unreadable(BadRequest):
    """What came back is no object; it is in the draft still."""


class Draft:
    """What a user makes of an object, attempt by attempt: nothing of it is lost but on the user's word.

    ``text`` is the last attempt, empty before the first; ``complaint`` is what the next one is told.
    """

    def __init__(self, obj: Object) -> None:
        self.text = ""
        self.complaint = ""
        self._obj = obj
        self._body = dump(obj)

    def edit(self) -> Object:
        """The object as the user left it. Blocking.

        Raises Unchanged, Unreadable, and BadRequest where the editor fails.
        """
        body = self.text or self._body
        notes = [_HINT, *(f"! {line}" for line in self.complaint.splitlines())]
        back = through("".join(f"{_COMMENT}{line}\n" for line in notes) + body)
        left = "".join(f"{line}\n" for line in back.removesuffix("\n").split("\n") if not line.startswith("#"))
        if not left.strip() or left == body:
            raise Unchanged
        self.text = left
        found = parsed(left)
        if found == self._obj:
            self.text = ""
            raise Unchanged
        return found

    def kept(self) -> str:
        """A sentence that says where the text lies now, since it came to nothing; empty where there is none."""
        if not self.text:
            return ""
        try:
            return f" What you wrote is kept in {_written(self.text)}."
        except OSError as err:
            return f" What you wrote could not be kept: {err.strerror}."


def command() -> list[str]:
    """``$VISUAL``, ``$EDITOR``, or vi. Raises BadRequest for what no shell would understand."""
    text = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        return shlex.split(text) or ["vi"]
    except ValueError as err:
        raise BadRequest(f"EDITOR={text!r} cannot be understood: {err}.") from err


def parsed(text: str) -> Object:
    """The one object of a YAML text. Raises Unreadable."""
    try:
        found = load(text)
    except ValueError as err:
        raise Unreadable(f"This is no YAML: {err}") from err
    if not isinstance(found, dict) or not isinstance(found.get("metadata") or {}, dict):
        raise Unreadable("This is no object: it needs apiVersion, kind and metadata.")
    return found


def through(content: str) -> str:
    """A text as the user left it. Blocking.

    Raises BadRequest; what was written before the editor failed stays, and the sentence says where.
    """
    path = _written(content)
    stays = False
    try:
        words = [*command(), path]
        try:
            ended = _run(words)
        except OSError as err:
            raise BadRequest(f"The editor {words[0]} cannot be run: {err.strerror}. Set EDITOR.") from err
        back = _read(path)
        if ended:
            stays = back not in ("", content)
            where = f" What you wrote is kept in {path}." if stays else ""
            raise BadRequest(f"The editor {words[0]} ended with {ended}; nothing was changed.{where}")
        return back
    finally:
        if not stays:
            with suppress(FileNotFoundError):
                os.unlink(path)


def _run(words: list[str]) -> int:
    process = subprocess.Popen(words)
    while True:
        # A Ctrl+C on its terminal is the editor's.
        with suppress(KeyboardInterrupt):
            return process.wait()


def _written(text: str) -> str:
    """The path of a new file that only its owner reads."""
    descriptor, path = tempfile.mkstemp(prefix="hv-edit-", suffix=".yaml")
    with os.fdopen(descriptor, "w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    return path


def _read(path: str) -> str:
    """Empty where the editor has removed it."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except FileNotFoundError:
        return ""
