"""String formats and patterns, with the meaning they have in a kube-apiserver.

Schemas carry RE2 patterns. Python's ``$`` also matches before a final newline, which RE2's does not; a name with a
newline in it must not slip through.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Final

_DOLLAR = re.compile(r"\\.|\[(?:\\.|[^\]\\])*\]|\$", re.DOTALL)
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")

_TIME_CHARS: Final = 40
_BASE64 = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})")
"""Nothing at all is no base64 to a kube-apiserver."""


@lru_cache(maxsize=256)
def compile_pattern(pattern: str) -> re.Pattern[str]:
    """``pattern`` with RE2's meaning of ``$``."""
    strict = _DOLLAR.sub(lambda match: r"\Z" if match.group() == "$" else match.group(), pattern)
    return re.compile(strict, re.ASCII)


def _parses(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def holds(value: str) -> bool:
        try:
            parse(value)
        except ValueError:
            return False
        return True

    return holds


def _is_date_time(value: str) -> bool:
    # Only what is as short as times are is remembered: a client must not fill the memory with others.
    return _checked_date_time(value) if len(value) <= _TIME_CHARS else _check_date_time(value)


def _check_date_time(value: str) -> bool:
    if not _DATE_TIME.fullmatch(value):
        return False
    try:
        datetime.fromisoformat(value.upper())
    except ValueError:
        return False
    return True


_checked_date_time = lru_cache(maxsize=1024)(_check_date_time)


def _is_base64(value: str) -> bool:
    return _BASE64.fullmatch(value) is not None


FORMATS: Final[Mapping[str, Callable[[str], bool]]] = {
    "ipv4": _parses(IPv4Address),
    "ipv6": _parses(IPv6Address),
    "date-time": _is_date_time,
    "byte": _is_base64,
}
"""Formats that are checked; others are hints to the reader."""
