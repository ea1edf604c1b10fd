"""A part of a file, as a request asks for it: one range of bytes, of a version that the client has begun with."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from hyperd.errors import RangeNotSatisfiable

_RANGE: Final = re.compile(r"bytes=[ \t]*(\d{0,18})-(\d{0,18})[ \t]*", re.ASCII | re.IGNORECASE)


def asked(headers: Mapping[str, str], *, size: int, etag: str) -> range | None:
    """The bytes that are asked for of ``size``; None for all of them.

    So it is where a client has begun with another version than ``etag``, where it asks for several parts, and
    where what it says is no range: it then gets a whole answer, as it has to expect. Raises RangeNotSatisfiable
    for what begins behind the end.
    """
    match = _RANGE.fullmatch(headers.get("Range", "").strip())
    condition = headers.get("If-Range", "").strip()
    if match is None or (condition and condition != etag):
        return None
    first, last = match[1], match[2]
    if first and last and int(last) < int(first):
        return None
    if first:
        found = range(int(first), min(size, int(last) + 1) if last else size)
    elif last:
        found = range(max(0, size - int(last)), size)
    else:
        return None
    if not found:
        raise RangeNotSatisfiable(f"The file has {size} bytes; what is asked for of it begins behind its end.")
    return found
