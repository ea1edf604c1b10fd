"""Words of others: ``kind/name`` on a command line, a warning in a header."""

from __future__ import annotations


def warning(value: str) -> str:
    """What a Warning header (RFC 7234, ``299 - "text"``) says."""
    return value.partition('"')[2].rpartition('"')[0].replace('\\"', '"') or value


def pairs(words: list[str]) -> list[tuple[str, str]]:
    """(kind, name) of each. Raises BadRequest where one of several has no kind: it would be guessed."""
    from hyperd.errors import BadRequest

    found = []
    for word in words:
        kind, slash, name = word.partition("/")
        if not slash or not kind or not name or "," in kind:
            raise BadRequest(f'"{word}" is not kind/name; either all words are, or the kind comes first, alone.')
        found.append((kind, name))
    return found
