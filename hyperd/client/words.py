"""``kind/name`` words of a command line."""

from __future__ import annotations

from hyperd.errors import BadRequest


def pairs(words: list[str]) -> list[tuple[str, str]]:
    """(kind, name) of each. Raises BadRequest where one of several has no kind: it would be guessed."""
    found = []
    for word in words:
        kind, slash, name = word.partition("/")
        if not slash or not kind or not name or "," in kind:
            raise BadRequest(f'"{word}" is not kind/name; either all words are, or the kind comes first, alone.')
        found.append((kind, name))
    return found
