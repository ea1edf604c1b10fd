"""Which rows a filter keeps: words, ``!``, regular expressions, values of columns, labels.

All terms of a filter must hold; ``!`` before one turns it round. Case does not count.

* ``web``: somewhere in the row, but for what is measured; ``~web-[0-9]+``: a regular expression
* ``node:n3`` (has), ``state=Running``, ``state!=Running``, ``name~^db``: of one column
* ``memory>=2Gi``, ``cpu<4``, ``age<1h``: what the column is worth; a title may be cut short
* ``-l app=web,tier!=db,canary``: labels
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

from hyperd.client.ages import duration
from hyperd.client.amounts import quantity
from tui.widgets.rows import Column, Row

Test = Callable[[Row, Mapping[str, str], str], bool]
"""Of a row, its labels and its text."""
Labels = Callable[[Hashable], Mapping[str, str]]

_TERM = re.compile(r"(?P<title>[^!=<>:~]*)(?P<sign>!=|<=|>=|[=<>:~])(?P<value>.*)", re.DOTALL)
_LONGEST = 4096
"""So much of a row is looked at: expressions are the user's, texts are anybody's."""


class Sieve:
    """Filters the rows of one list; their texts are kept until they change."""

    def __init__(self, columns: Sequence[Column], row: Callable[[Hashable], Row | None], labels: Labels) -> None:
        self._columns = columns
        self._row = row
        self._labels = labels
        self._texts: dict[Hashable, str] = {}

    def forget(self, key: Hashable) -> None:
        """This row has changed."""
        self._texts.pop(key, None)

    def matches(self, query: str) -> Callable[[Hashable], bool]:
        """Whether the row of a key is kept by ``query``."""
        tests = list(parse(query, self._columns))
        if not tests:
            return lambda _: True

        def kept(key: Hashable) -> bool:
            row = self._row(key)
            if row is None:
                return False
            text = self._texts.get(key)
            if text is None:
                text = self._texts[key] = searched(row)
            labels = self._labels(key)
            return all(test(row, labels, text) for test in tests)

        return kept


def searched(row: Row) -> str:
    """The text of a row that words are looked for in."""
    # What is measured is text of a class of its own: "12" means web-12, and not who uses 12 % at the moment.
    return " ".join((*(value for value in row.values if type(value) is str), row.note)).lower()[:_LONGEST]


def asked(query: str, columns: Sequence[Column]) -> set[int]:
    """The places of the columns whose values decide what a filter keeps."""
    terms = (_TERM.fullmatch(word.removeprefix("!")) for word in query.split())
    places = (_column(term["title"], columns) for term in terms if term is not None)
    return {place for place in places if place is not None}


def parse(query: str, columns: Sequence[Column]) -> Iterable[Test]:
    """The terms of a filter. What is not whole yet, as it is typed, asks for nothing or is a word."""
    words = iter(query.split())
    for word in words:
        if word == "-l":
            yield from _labelled(next(words, ""))
            continue
        bare = word.removeprefix("!")
        test = _one(bare, columns) if bare else None
        if test is not None:
            yield test if bare == word else _not(test)


def _one(word: str, columns: Sequence[Column]) -> Test | None:
    term = _TERM.fullmatch(word)
    if term is None:
        return _has(word)
    title, sign, value = term["title"], term["sign"], term["value"]
    if not title and sign == "~":
        return _expression(value, lambda _, text: text) if value else None
    place = _column(title, columns)
    if place is None:
        return _has(word)
    return _of_column(place, columns[place], sign, value) if value else None


def _has(word: str) -> Test:
    wanted = word.lower()
    return lambda row, labels, text: wanted in text


def _not(test: Test) -> Test:
    return lambda row, labels, text: not test(row, labels, text)


def _column(title: str, columns: Sequence[Column]) -> int | None:
    """The column of that title, or else the first one whose title begins so."""
    wanted = title.upper()
    titles = [column.title.upper() for column in columns]
    if wanted in titles:
        return titles.index(wanted)
    return next((at for at, found in enumerate(titles) if len(wanted) > 1 and found.startswith(wanted)), None)


def _of_column(place: int, column: Column, sign: str, value: str) -> Test:
    wanted = value.lower()
    if sign == "~":
        return _expression(value, lambda row, _: _cell(row, place))
    if sign == ":":
        return lambda row, labels, text: wanted in _cell(row, place)
    if sign in ("=", "!="):
        number = _worth(column, value)

        def same(row: Row) -> bool:
            return _cell(row, place) == wanted or (number is not None and _number(column, row, place) == number)

        return (lambda row, labels, text: same(row)) if sign == "=" else (lambda row, labels, text: not same(row))
    limit = duration(value) if column.age else _worth(column, value)
    if limit is None:
        return lambda row, labels, text: True

    def beyond(row: Row) -> bool:
        number = _number(column, row, place)
        if number is None:
            return False
        return {"<": number < limit, "<=": number <= limit, ">": number > limit, ">=": number >= limit}[sign]

    return lambda row, labels, text: beyond(row)


def _cell(row: Row, place: int) -> str:
    value = row.values[place]
    return "" if value is None else str(value).lower()[:_LONGEST]


def _worth(column: Column, value: object) -> float | None:
    return (column.number or quantity)(value)


def _number(column: Column, row: Row, place: int) -> float | None:
    """What a cell is worth; of an age, seconds."""
    value = row.values[place]
    if column.age:
        return time.time() - value if isinstance(value, int | float) else None
    return _worth(column, value)


def _expression(pattern: str, of: Callable[[Row, str], str]) -> Test:
    """One that is not whole yet is looked for as it stands."""
    try:
        expression = re.compile(pattern, re.IGNORECASE)
    except (re.error, RecursionError, OverflowError):
        wanted = pattern.lower()
        return lambda row, labels, text: wanted in of(row, text)
    return lambda row, labels, text: expression.search(of(row, text)) is not None


def _labelled(selector: str) -> Iterable[Test]:
    """``app=web,tier!=db,canary,!old``."""
    for part in selector.split(","):
        name, sign, value = part.partition("!=" if "!=" in part else "=")
        value = value.removeprefix("=")
        if sign == "=":
            yield _label(name, value)
        elif sign:
            yield _not(_label(name, value))
        elif name.startswith("!"):
            yield _not(_label(name[1:], None))
        elif name:
            yield _label(name, None)


def _label(name: str, value: str | None) -> Test:
    """Has the label, with this value unless that is None."""
    return lambda row, labels, text: name in labels and (value is None or labels[name] == value)
