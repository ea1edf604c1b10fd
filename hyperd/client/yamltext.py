"""Objects as YAML that is safe to print, without the 24 ms that importing a YAML library costs.

Only what JSON can hold is written. A string goes plain when no YAML reader can take it for something else,
as a block when it has lines, else in double quotes with everything hostile escaped.
"""

from __future__ import annotations

import json
import re

from hyperd.client.sanitize import escaped, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_PLAIN = re.compile(r"[A-Za-z0-9_./][\w ./()+@%;-]*(?::[\w./@%+-]+)*\Z", re.ASCII)
_DATE_OR_NUMBER = re.compile(
    r"[-+.]?[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]*)?\Z"  # also what only some readers take for a number
    r"|0[xob][0-9a-fA-F_]+\Z"
    r"|[0-9][0-9_]*(:[0-9_.]+)+\Z"  # sexagesimal
    r"|[0-9]{4}-[0-9]"
    r"|[.][0-9]"
)
_WORDS = frozenset(("null", "true", "false", "yes", "no", "on", "off", "y", "n", ".inf", ".nan", "+.inf", "-.inf"))


def dump(value: object) -> str:
    """``value`` as a YAML document, with a newline at its end."""
    return "\n".join(_block(value, 0)) + "\n"


def load(text: str) -> Any:
    """What a YAML or JSON text holds, as JSON can: times stay text, as in Kubernetes. Raises ValueError."""
    import yaml  # 24 ms, which printing need not pay

    class Loader(yaml.SafeLoader):
        pass

    Loader.yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }
    try:
        return json.loads(json.dumps(yaml.load(text, Loader), allow_nan=False))  # noqa: S506  a SafeLoader
    except yaml.YAMLError as err:
        raise ValueError(str(err)) from err
    except (TypeError, RecursionError) as err:
        raise ValueError("it holds what JSON has no form for") from err


def scalar(value: object) -> str:
    """A number, boolean, null or string on one line."""
    if isinstance(value, str):
        return value if _is_plain(value) else _quoted(value)
    return json.dumps(value)


def _is_plain(value: str) -> bool:
    return (
        _PLAIN.match(value) is not None
        and not value.endswith(" ")
        and value.lower() not in _WORDS
        and _DATE_OR_NUMBER.match(value) is None
        and " #" not in value
        and value not in (".", "..", "...")
    )


def _quoted(value: str) -> str:
    return escaped(json.dumps(value, ensure_ascii=False))


def _block(value: object, depth: int) -> Iterator[str]:
    indent = "  " * depth
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _entry(f"{indent}{scalar(str(key))}:", inner, depth)
    elif isinstance(value, list) and value:
        for inner in value:
            if isinstance(inner, dict | list) and inner:
                first, *more = _block(inner, depth + 1)
                yield f"{indent}- {first[len(indent) + 2 :]}"
                yield from more
            else:
                yield from _entry(f"{indent}-", inner, depth)
    else:
        yield f"{indent}{_empty_or_scalar(value)}"


def _entry(head: str, value: object, depth: int) -> Iterator[str]:
    if isinstance(value, dict | list) and value:
        yield head
        # A list in a mapping is not indented further, as kubectl writes it.
        yield from _block(value, depth + (isinstance(value, dict)))
    elif isinstance(value, str) and _is_block(value):
        indent = "  " * (depth + 1)
        yield f"{head} |{'' if value.endswith(chr(10)) else '-'}"
        for line in value.removesuffix("\n").split("\n"):
            yield f"{indent}{line}" if line else ""
    else:
        yield f"{head} {_empty_or_scalar(value)}"


def _is_block(value: str) -> bool:
    return (
        "\n" in value
        and value[0] not in " \n\t"
        and not value.endswith("\n\n")
        and value.isascii()
        and text(value) == value
        and not any(line != line.rstrip() for line in value.split("\n"))
    )


def _empty_or_scalar(value: object) -> str:
    if isinstance(value, dict):
        return "{}"
    if isinstance(value, list):
        return "[]"
    return scalar(value)
