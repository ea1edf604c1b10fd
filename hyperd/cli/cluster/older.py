"""Whether what is to be installed is older than what is: then it needs a word of its own."""

from __future__ import annotations

import re

from hyperd.cli.cluster import bundle
from hyperd.errors import Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hyperd.resources.schema.kind import Object

_WORD = "Say --downgrade to have it all the same."
_VERSION = re.compile(r"\d+(?:\.\d+)*")
_TAG = re.compile(r"v?(\d+(?:\.\d+)+)")
"""A single number is somebody's count of builds, and may begin anew."""


def refuse(live: Object, new: Object) -> None:
    """Raises Conflict where the DaemonSet that is there is of a newer version, or has a newer image.

    An older version may not understand what the newer one has written.
    """
    have, want = bundle.version_of(live), bundle.version_of(new)
    if numbers(have) > numbers(want):
        raise Conflict(
            f"hyperd {have} is installed, and this hv would install {want}: an older version may not understand "
            f"what the newer one has written. Use hv {have} or newer. {_WORD}"
        )
    have, want = bundle.image_of(live), bundle.image_of(new)
    if tagged(have) > tagged(want) > ():
        raise Conflict(
            f"The image {want} is older than {have}, which is installed: an older version may not understand what "
            f"the newer one has written. {_WORD}"
        )


def numbers(version: str) -> tuple[int, ...]:
    """Of ``0.2.0rc1`` 0, 2 and 0; none of what begins with no number."""
    found = _VERSION.match(version)
    return tuple(map(int, found.group().split("."))) if found else ()


def tagged(image: str) -> tuple[int, ...]:
    """The version that an image's tag says it is; none where it says none, or the image is named by digest."""
    name = image.rpartition("/")[2]
    found = _TAG.match(name.partition(":")[2]) if "@" not in name else None
    return numbers(found.group(1)) if found else ()
