"""The kinds that have a list of their own making. A file here with a ``KIND`` is all that one more needs."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator

from tui.kind import Kind


class Kinds:
    """Kinds by plural and by word, those with a digit first."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._by_plural: dict[str, Kind] = {}
        self.by_word: dict[str, Kind] = {}
        self.refine: Callable[[Kind], Kind] = lambda kind: kind
        """What the user has other columns for is shown by these."""
        ordered = sorted(kinds, key=lambda kind: (not kind.digit, kind.digit, kind.plural))
        for kind in ordered:
            self.put(kind)

    def put(self, kind: Kind) -> None:
        """Know this one; a word that another has stays the other's."""
        kind = self._by_plural[kind.plural] = self.refine(kind)
        for word in kind.words:
            if word not in self.by_word or self.by_word[word].plural == kind.plural:
                self.by_word[word] = kind

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._by_plural.values())

    def get(self, plural: str) -> Kind | None:
        return self._by_plural.get(plural)

    def __getitem__(self, plural: str) -> Kind:
        return self._by_plural[plural]


def load() -> Kinds:
    """Every kind that has a file here."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return Kinds(importlib.import_module(f"{__name__}.{name}").KIND for name in names)
