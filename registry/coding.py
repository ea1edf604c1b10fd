"""Content-Encoding: what a server wraps around an image though it was asked not to.

Two kinds of servers do that. One compresses whatever it sends: the image is inside, and so is what its publisher
took the checksum of. The other tells of a file ``disk.img.gz`` that it is gzip: that is the file, and the checksum
is of it, as it is for ``curl -O``, which takes off nothing. The reference's importer takes off what it did not ask
for as well. Both get the image here, and a checksum of either form is right.
"""

from __future__ import annotations

from collections.abc import Iterator

from hyperd.errors import PermanentError
from hyperd.imagefile import signatures
from hyperd.imagefile.detect import FAILED, Compression, ForeignFormat, ImageFormat, compression, image_format
from registry.answers import quotable

_GZIP = ("gzip", "x-gzip")
_MOST = 3


def undone(header: str, head: bytes) -> Iterator[str]:
    """The codings that are taken off: gzip, where what came begins like that; a server may say what is not so."""
    if compression(head) is Compression.GZIP:
        yield from (name for name in _names(header)[:_MOST] if name in _GZIP)


def guard(header: str, head: bytes) -> None:
    """PermanentError when the image is wrapped in what is not undone here."""
    others = [name for name in _names(header) if name not in (*_GZIP, "identity", "zstd")]
    if others and not compression(head) and not _is_image(head):
        raise PermanentError(
            f"The server sends the image with Content-Encoding {quotable(others[0], 40)}, which was not asked for "
            "and is not undone here; have it send the file as it is.",
            key=FAILED,
        )


def _names(header: str) -> list[str]:
    return [name.strip() for name in header.split(",") if name.strip()]


def _is_image(head: bytes) -> bool:
    if signatures.has_system(head):
        return True
    try:
        kind = image_format(head)
    except PermanentError:
        return False
    return isinstance(kind, ForeignFormat) or kind is not ImageFormat.RAW
