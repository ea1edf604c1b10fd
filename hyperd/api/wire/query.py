"""The query of one request, as Go's clients write it and Go's servers read it."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from hyperd.errors import BadRequest
from hyperd.store.interface import whole_number

_TRUE = frozenset({"1", "t", "T", "true", "TRUE", "True", ""})
_FALSE = frozenset({"0", "f", "F", "false", "FALSE", "False"})
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
_MAX_PARAMETERS = 64


class Query:
    """The parameters of one request; the first of a repeated one counts, except for ``dryRun``.

    Unknown parameters are ignored, as Kubernetes does; one that cannot be read is refused, since a selector that
    is lost would select everything. Raises BadRequest.
    """

    __slots__ = ("_pairs", "_values")

    def __init__(self, text: str) -> None:
        broken = _BROKEN_ESCAPE.search(text)
        if broken is not None:
            raise BadRequest(f'invalid URL escape "{text[broken.start() :][:3]}" in the query')
        try:
            self._pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MAX_PARAMETERS)
        except ValueError:
            raise BadRequest(f"the query has more than {_MAX_PARAMETERS} parameters") from None
        self._values: dict[str, str] = {}
        for key, value in self._pairs:
            self._values.setdefault(key, value)

    def get(self, name: str) -> str:
        return self._values.get(name, "")

    def find(self, name: str) -> str | None:
        """The value, or None when there is no such parameter."""
        return self._values.get(name)

    def all(self, name: str) -> list[str]:
        return [value for key, value in self._pairs if key == name]

    def asks(self, name: str) -> bool:
        """A boolean whose nonsense is false: for what changes the form of an answer, not its content."""
        return self._values.get(name, "0") in _TRUE

    def flag(self, name: str) -> bool:
        """A boolean as Go's ParseBool reads it (Python clients send ``True``); ``?watch`` alone is true."""
        return self.optional_flag(name) or False

    def optional_flag(self, name: str) -> bool | None:
        value = self._values.get(name)
        if value is None:
            return None
        if value in _TRUE:
            return True
        if value in _FALSE:
            return False
        raise BadRequest(f'{name}: "{value[:64]}" is not a boolean (true or false)')

    def number(self, name: str) -> int | None:
        """A whole number of 64 bits; None when there is no such parameter."""
        value = self._values.get(name)
        if value is None:
            return None
        number = whole_number(value)
        if number is None:
            raise BadRequest(f'{name}: "{value[:64]}" is not a whole number of 64 bits')
        return number


EMPTY = Query("")
