"""The kinds that have a list of their own making. A file here with a ``KIND`` is all that one more needs."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterable, Iterator

from tui.kind import Kind


class Kinds:
    """Kinds by plural and by word, those with a digit first."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        ordered = sorted(kinds, key=lambda kind: (not kind.digit, kind.digit, kind.plural))
        self._by_plural = {kind.plural: kind for kind in ordered}
        self.by_word = {word: kind for kind in ordered for word in kind.words}

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
