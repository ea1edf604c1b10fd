"""Building XML in a line each, with text that XML can carry."""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree import ElementTree as ET

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def clean(text: str) -> str:
    """``text`` with U+FFFD for what XML cannot carry; admission refuses such names, here they do no harm."""
    return _NOT_XML.sub("\ufffd", text)


def add(
    parent: ET.Element, tag: str, attributes: Mapping[str, str] | None = None, *, text: str = ""
) -> ET.Element:
    """Append ``<tag attributes>text</tag>`` to ``parent`` and return it."""
    element = ET.SubElement(parent, tag, {key: clean(value) for key, value in (attributes or {}).items()})
    if text:
        element.text = clean(text)
    return element


def attribute(parent: ET.Element, tag: str, name: str) -> str:
    """An attribute of the first ``<tag>`` in ``parent``; empty where either is missing."""
    child = parent.find(tag)
    return "" if child is None else child.get(name, "")
