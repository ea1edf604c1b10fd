"""What a wizard asks of a home: the kind's schema, names to choose from, a rehearsal, and then the objects."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hyperd.client import openapi, sanitize, snapshots
from hyperd.client.resource import Resource
from hyperd.errors import BadRequest, HyperdError, NotFound
from tui.described import Described, by_path
from tui.draft import words_at
from tui.recipe import PLURALS
from tui.shelf import Object

if TYPE_CHECKING:
    from hyperd.client.aio import AsyncClient

_MOST_FAULTS = 8


@dataclass(frozen=True)
class Verdict:
    """What the home says of the objects as they are.

    ``faults`` are (kind, field, sentence); ``stored`` are the objects with the home's defaults, as far as it took
    them.
    """

    faults: tuple[tuple[str, str, str], ...]
    warnings: tuple[str, ...]
    stored: tuple[Object, ...]


class Maker:
    """One home, and what it serves."""

    def __init__(self, client: AsyncClient, resources: Iterable[Resource]) -> None:
        self._client = client
        self._resources = list(resources)
        self._known: dict[str, dict[str, Described]] = {}

    def resource(self, obj: Object) -> Resource:
        """Of an object's kind. Raises NotFound."""
        for each in self._resources:
            if each.kind == obj.get("kind") and (found := each.in_version(str(obj.get("apiVersion")))) is not None:
                return found
        raise NotFound(f"The home has no {obj.get('kind')} of {obj.get('apiVersion')}.")

    async def described(self, resource: Resource) -> dict[str, Described]:
        """Every field of a kind, by its path; none where the home does not tell."""
        if resource.kind not in self._known:
            try:
                schemas = openapi.schemas_of(await self._client.call("GET", openapi.path(resource)))
                schema = openapi.resolved(openapi.schema_of(schemas, resource), schemas)
                self._known[resource.kind] = by_path(schema, schemas)
            except HyperdError:
                self._known[resource.kind] = {}
        return self._known[resource.kind]

    async def names(self, plurals: Iterable[str], namespace: str) -> dict[str, list[str]]:
        """By plural, what may be chosen; none where it may not be read."""
        wanted = [(plural, each) for plural in plurals for each in self._resources if each.plural == plural]
        found = await asyncio.gather(*(self._names(each, namespace) for _, each in wanted))
        return dict(zip([plural for plural, _ in wanted], found, strict=True))

    async def _names(self, resource: Resource, namespace: str) -> list[str]:
        try:
            items, _, _ = await self._client.list(resource, namespace if resource.namespaced else None)
        except HyperdError:
            return []
        names = sorted(str(each["metadata"]["name"]) for each in items if not snapshots.owned(each))
        short = PLURALS.get(resource.plural)
        return [sanitize.line(f"{short}/{name}" if short else name) for name in names]

    async def judge(self, objects: Sequence[Object]) -> Verdict:
        """A rehearsal of all of them; nothing is written."""
        faults: list[tuple[str, str, str]] = []
        warnings: list[str] = []
        stored: list[Object] = []
        for obj in objects:
            kind = str(obj.get("kind"))
            try:
                made, said = await self._client.rehearse(*self._where(obj), obj)
            except HyperdError as err:
                causes = [(kind, cause.field, cause.message) for cause in err.causes]
                faults += causes or [(kind, "", err.message)]
            else:
                stored.append({"kind": kind, **made})
                warnings += said
        return Verdict(tuple(faults[:_MOST_FAULTS]), tuple(warnings), tuple(stored))

    async def make(self, objects: Sequence[Object]) -> list[Object]:
        """Create all of them, or none. Raises what the home refuses with, and says what is left over."""
        made: list[tuple[Resource, str | None, Object]] = []
        try:
            for obj in objects:
                resource, namespace = self._where(obj)
                made.append((resource, namespace, await self._client.create(resource, namespace, obj)))
        except HyperdError as err:
            left = [name for each in reversed(made) if (name := await self._undone(*each))]
            if left:
                raise type(err)(f"{err.message} Made before, and still there: {', '.join(left)}.") from err
            raise
        return [{"kind": resource.kind, **obj} for resource, _, obj in made]

    async def _undone(self, resource: Resource, namespace: str | None, obj: Object) -> str:
        metadata = obj["metadata"]
        try:
            await self._client.delete(resource, namespace, metadata["name"], uid=str(metadata.get("uid") or ""))
        except NotFound:
            return ""
        except HyperdError:
            return f"{resource.kind} {metadata['name']}"
        return ""

    def _where(self, obj: Object) -> tuple[Resource, str | None]:
        resource = self.resource(obj)
        namespace = words_at(obj, ("metadata", "namespace"))
        if resource.namespaced and not namespace:
            raise BadRequest("the namespace is missing")
        return resource, namespace if resource.namespaced else None
