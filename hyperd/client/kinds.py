"""How a word of the user (``vm``, ``virtualmachines``, ``VirtualMachine``, ``virtualization``) becomes resources.

hyperd's own kinds are known without asking; any other word is looked up in the server's discovery, so that the
command line also serves kinds that a cluster adds.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from hyperd.client.sync import Client


class Resource:
    """What a request needs to know of a kind, and the words it goes by."""

    __slots__ = ("categories", "group", "kind", "namespaced", "plural", "short_names", "singular", "version")

    def __init__(
        self,
        *,
        group: str,
        version: str,
        kind: str,
        plural: str,
        singular: str,
        namespaced: bool,
        short_names: tuple[str, ...] = (),
        categories: tuple[str, ...] = (),
    ) -> None:
        self.group = group
        self.version = version
        self.kind = kind
        self.plural = plural
        self.singular = singular
        self.namespaced = namespaced
        self.short_names = short_names
        self.categories = categories

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def short(self) -> str:
        """The shortest word for it."""
        return self.short_names[0] if self.short_names else self.singular

    def goes_by(self, word: str) -> bool:
        """Whether ``word`` (lower case) names this kind; ``plural.group`` does too."""
        return word in (self.plural, self.singular, self.kind.lower(), *self.short_names) or (
            bool(self.group) and word in (f"{self.plural}.{self.group}", f"{self.singular}.{self.group}")
        )


def built_in() -> list[Resource]:
    """The kinds that hyperd itself serves."""
    from hyperd.resources.index import INDEX

    return [
        Resource(
            group=entry.group,
            version=entry.version,
            kind=entry.kind,
            plural=entry.plural,
            singular=entry.singular,
            namespaced=entry.namespaced,
            short_names=tuple(entry.short_names),
            categories=tuple(entry.categories),
        )
        for entry in INDEX
    ]


def resolve(word: str, client: Client) -> list[Resource]:
    """The resources that ``word`` names: one, or all of a category. Raises NotFound."""
    lowered = word.lower()
    for known in (built_in, lambda: discover(client)):
        resources = known()
        named = [resource for resource in resources if resource.goes_by(lowered)]
        if named:
            return named[:1]
        listed = [resource for resource in resources if lowered in resource.categories]
        if listed:
            return listed
    from hyperd.errors import NotFound

    raise NotFound(f'The server has no kind "{word}"; `hv get` without a kind lists what there is.')


def of_object(obj: dict[str, Any], client: Client) -> Resource:
    """The resource of a manifest by its apiVersion and kind. Raises BadRequest, NotFound."""
    from hyperd.errors import BadRequest, NotFound

    api_version, kind = obj.get("apiVersion"), obj.get("kind")
    if not isinstance(api_version, str) or not isinstance(kind, str):
        raise BadRequest("A manifest needs apiVersion and kind.")
    for known in (built_in, lambda: discover(client)):
        for resource in known():
            if resource.kind == kind and resource.api_version == api_version:
                return resource
    raise NotFound(f'The server has no kind "{kind}" in "{api_version}".')


def discover(client: Client) -> list[Resource]:
    """Every resource of the server, by its discovery documents."""
    groups = [("", "v1", "/api/v1")]
    for group in client.call("GET", "/apis").get("groups") or ():
        version = group["preferredVersion"]["groupVersion"]
        groups.append((group["name"], version.rpartition("/")[2], f"/apis/{version}"))
    found: list[Resource] = []
    for name, version, path in groups:
        found.extend(_resources(name, version, client.call("GET", path).get("resources") or ()))
    return found


def _resources(group: str, version: str, entries: Iterable[dict[str, Any]]) -> Iterable[Resource]:
    for entry in entries:
        if "/" in entry["name"]:
            continue
        yield Resource(
            group=group,
            version=version,
            kind=entry["kind"],
            plural=entry["name"],
            singular=entry.get("singularName") or entry["kind"].lower(),
            namespaced=bool(entry["namespaced"]),
            short_names=tuple(entry.get("shortNames") or ()),
            categories=tuple(entry.get("categories") or ()),
        )
