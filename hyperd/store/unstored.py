"""What stores of kinds that nobody stores have in common: they are read only, and a page is of its own moment."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn, Protocol

from hyperd.errors import MethodNotAllowed
from hyperd.store.interface import Item, Listing
from hyperd.store.paging import make_token
from hyperd.store.records import Name, Stored


class ReadOnly(Protocol):
    """The half of ``Store`` that writes, all of which is refused."""

    def refusal(self) -> str:
        """Why nothing can be written, in a sentence."""
        ...

    def _refuse(self) -> NoReturn:
        raise MethodNotAllowed(self.refusal())

    async def create(self, *_: object, **__: object) -> Item:
        self._refuse()

    async def update(self, *_: object, **__: object) -> Item:
        self._refuse()

    async def patch(self, *_: object, **__: object) -> Item:
        self._refuse()

    async def apply(self, *_: object, **__: object) -> tuple[Item, bool]:
        self._refuse()

    async def delete(self, *_: object, **__: object) -> tuple[Item, bool]:
        self._refuse()


def page(items: Iterable[Stored], version: str, *, after: Name, limit: int, counted: bool) -> Listing:
    """``limit`` of ``items`` behind ``after``, all of them for 0; ``counted``: say how many there are beyond."""
    chosen = sorted((one for one in items if _place(one) > after), key=_place)
    if not limit or len(chosen) <= limit:
        return Listing(chosen, version)
    token = make_token(int(version), _place(chosen[limit - 1]))
    return Listing(chosen[:limit], version, token, len(chosen) - limit if counted else None)


def _place(item: Stored) -> Name:
    return (item.namespace, item.name)
