"""Waiting for an object with its progress in sight: one line that is rewritten, or one line a change in a pipe."""

from __future__ import annotations

import sys
import time

from hyperd.client import sanitize
from hyperd.client.health import Level, condition, health
from hyperd.client.hopeless import cannot_come
from hyperd.client.lookup import finder
from hyperd.client.resource import Resource
from hyperd.client.sync import Client
from hyperd.errors import BadRequest, Expired, NotFound, ServiceUnavailable, Timeout
from hyperd.resources.index import INDEX

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

_JUDGED_SECONDS = 3.0
"""How long nothing changes before it is asked whether anything can."""


def settled(kind: str) -> frozenset[str]:
    """Phases of our kind ``kind`` at which there is nothing more to wait for; empty where nobody has to."""
    return next((frozenset(entry.settled) for entry in INDEX if entry.kind == kind), frozenset())


class Progress:
    """Shows what is waited for on stderr."""

    def __init__(self, label: str) -> None:
        self._label = sanitize.line(label)
        self._live = sys.stderr.isatty()
        self._last = ""

    def show(self, what: str) -> None:
        """Replace the line on a terminal, add one elsewhere; the same text is not repeated."""
        text = f"{self._label}: {sanitize.line(what)}"
        if text == self._last:
            return
        self._last = text
        if self._live:
            from shutil import get_terminal_size

            print(f"\r\x1b[K{text[: get_terminal_size().columns - 1]}", end="", file=sys.stderr, flush=True)
        else:
            print(text, file=sys.stderr, flush=True)

    def done(self) -> None:
        """Leave the terminal's line as if nothing had been there."""
        if self._live and self._last:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def follow(
    client: Client, resource: Resource, namespace: str | None, name: str, *, until: frozenset[str], timeout: float
) -> Object:
    """The object once its phase is in ``until``, or Failed.

    The daemon may restart meanwhile. Raises Timeout with the reason it stands still, NotFound when it is deleted,
    BadRequest when it cannot come by itself: somebody has to do something, and waiting is of no use.
    """
    deadline = time.monotonic() + timeout
    find, before = finder(client), ""
    shown = Progress(f"{resource.singular}/{name}")
    last: Object = {}
    try:
        while (left := deadline - time.monotonic()) > 0:
            try:
                for event in client.watch(resource, namespace, name=name, timeout=min(left, _JUDGED_SECONDS)):
                    if event["type"] == "BOOKMARK":
                        continue
                    last = event["object"]
                    if event["type"] == "DELETED":
                        raise NotFound(f"{resource.kind} {name} was deleted.")
                    state = health(last)
                    shown.show(" · ".join(part for part in (state.word, state.progress, state.reason) if part))
                    if state.word in until or state.level is Level.BAD:
                        return last
                    if time.monotonic() > deadline:
                        break
            except (Expired, Timeout):
                # Twice the same: what is missing may have been on its way.
                why = cannot_come(last, find) if last else ""
                if why and why == before:
                    raise BadRequest(f"{resource.kind} {name} cannot come by itself: {why.rstrip('.')}.") from None
                before = why
            except ServiceUnavailable:
                shown.show("waiting for the server")
                time.sleep(1)
    finally:
        shown.done()
    ended = health(last)
    why = f": {ended.word}. {ended.reason}".rstrip(". ") if last else ""
    raise Timeout(f"{resource.kind} {name} is not there after {timeout:.0f} s{why}.")


def verdict(obj: Object) -> str:
    """Why an operation ended as it did: reason and message of its Completed condition."""
    entry = condition(obj, "Completed") or {}
    return ": ".join(str(entry[key]) for key in ("reason", "message") if entry.get(key))
