"""How a word of the user (``vm``, ``virtualmachines``, ``VirtualMachine``, ``virtualization``) becomes resources.

hyperd's own kinds are known without asking; any other word is looked up in the server's discovery, so that the
command line also serves kinds that a cluster adds.
"""

from __future__ import annotations

from hyperd.client.resource import Resource

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
"""Served by every Kubernetes that hyperd supports: all groups at once."""
ROOTS = ("/api", "/apis")

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from hyperd.client.sync import Client


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
            more_versions=entry.more_versions,
        )
        for entry in INDEX
    ]


def resolve(word: str, client: Client) -> list[Resource]:
    """The resources that ``word`` names: one, or all of a category. Raises NotFound."""
    lowered = word.lower()
    for known in (built_in, lambda: discover(client)):
        resources = known()
        named = [found for resource in resources if (found := resource.called(lowered)) is not None]
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
            found = resource.in_version(api_version) if resource.kind == kind else None
            if found is not None:
                return found
    raise NotFound(f'The server has no kind "{kind}" in "{api_version}".')


def discover(client: Client) -> list[Resource]:
    """Every resource of the server, each in the version that the server prefers for it."""
    return [found for root in ROOTS for found in discovered(client.call("GET", root, accept=AGGREGATED))]


def discovered(answer: dict[str, Any], *, verb: str = "") -> list[Resource]:
    """The resources in one answer of discovery; with ``verb``, those that take it."""
    found: dict[tuple[str, str], Resource] = {}
    for group in answer.get("items") or ():
        name = group["metadata"].get("name", "")
        for version in group.get("versions") or ():
            for resource in _resources(name, version["version"], version.get("resources") or (), verb):
                first = found.setdefault((name, resource.plural), resource)
                if first is not resource:
                    first.more_versions += (resource.version,)
    return list(found.values())


def _resources(group: str, version: str, entries: Iterable[dict[str, Any]], verb: str) -> Iterable[Resource]:
    for entry in entries:
        kind = (entry.get("responseKind") or {}).get("kind")
        if not kind or (verb and verb not in (entry.get("verbs") or ())):
            # A parent that stands only for its subresources.
            continue
        yield Resource(
            group=group,
            version=version,
            kind=kind,
            plural=entry["resource"],
            singular=entry.get("singularResource") or kind.lower(),
            namespaced=entry["scope"] == "Namespaced",
            short_names=tuple(entry.get("shortNames") or ()),
            categories=tuple(entry.get("categories") or ()),
        )
