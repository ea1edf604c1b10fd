"""Oddities of cloud-init user data that cloud-init itself would only tell on the guest's console.

User data is bytes: cloud-init unpacks gzip and takes scripts in any encoding. Only what it reads as text is judged
as text; nothing of this changes what the guest gets.
"""

from __future__ import annotations

import zlib
from typing import Final

_JINJA: Final = b"## template: jinja"
_YAML_HEADERS: Final = (b"#cloud-config", b"#cloud-config-archive", b"#cloud-config-jsonp")
_OTHER_HEADERS: Final = (
    b"#!", b"#include-once", b"#include", b"#cloud-boothook", b"#part-handler", b"#upstart-job", b"Content-Type:",
    b"MIME-Version:", b"From nobody",
)  # fmt: skip
_GZIP: Final = b"\x1f\x8b"
_GZIP_WINDOW: Final = 31
_MAX_PARSED: Final = 64 * 1024
_SHOWN: Final = 60


def oddities(user_data: bytes | None) -> list[str]:
    """What is odd about ``user_data``, a sentence each; None is not looked at."""
    if user_data is None:
        return []
    if not user_data.startswith(_GZIP):
        return _oddities(user_data)
    unpacked = _unpacked(user_data)
    if unpacked is None:
        return ["it begins as gzip does, and cannot be unpacked"]
    return [f"unpacked from gzip, {oddity}" for oddity in _oddities(unpacked)]


def _unpacked(user_data: bytes) -> bytes | None:
    """The first bytes that are inside, more than are parsed; None where it is damaged."""
    inflate = zlib.decompressobj(_GZIP_WINDOW)
    try:
        unpacked = inflate.decompress(user_data, _MAX_PARSED + 1)
    except zlib.error:
        return None
    return unpacked if inflate.eof or len(unpacked) > _MAX_PARSED else None


def _oddities(user_data: bytes) -> list[str]:
    if not user_data.strip():
        return ["it is empty: cloud-init will do nothing with it"]
    if user_data.startswith(_JINJA):
        # The rest is a template: YAML only after rendering in the guest.
        return []
    first = user_data.partition(b"\n")[0].rstrip()
    if first in _YAML_HEADERS:
        return _yaml_oddities(user_data) if first != b"#cloud-config-jsonp" else []
    if first.startswith(_OTHER_HEADERS):
        return []
    shown = first[:_SHOWN].decode("utf-8", "replace")
    return [f"its first line is no header that cloud-init knows, such as #cloud-config: {shown!r}"]


def _yaml_oddities(user_data: bytes) -> list[str]:
    if len(user_data) > _MAX_PARSED:
        return []
    try:
        text = user_data.decode()
    except UnicodeDecodeError as err:
        line = user_data.count(b"\n", 0, err.start) + 1
        return [f"it is not UTF-8 in line {line}, as which cloud-init reads YAML"]
    import yaml  # here, because few daemons ever meet user data

    try:
        # Events, not objects: aliases are never expanded, so nothing small can become huge.
        for _ in yaml.parse(text, Loader=yaml.SafeLoader):
            pass
    except yaml.YAMLError as err:
        mark = getattr(err, "problem_mark", None)
        where = f" in line {mark.line + 1}" if mark is not None else ""
        return [f"it is not valid YAML{where}: {getattr(err, 'problem', None) or 'cannot be parsed'}"]
    return []
