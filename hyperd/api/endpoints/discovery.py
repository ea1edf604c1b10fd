"""What kinds there are, in the forms clients ask for: the aggregated lists and the older ones.

The documents follow from the kinds and the connect subresources; they are made once. The versions of a group stand
in Kubernetes' order: clients take a kind from the first version that has it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from hyperd.api.wire import routes
from hyperd.api.wire.subresources import CLUSTER_SCOPED, DECLARED
from hyperd.api.wire.subresources import GROUP as CONNECT_GROUP
from hyperd.api.wire.subresources import VERSION as CONNECT_VERSION
from hyperd.resources.schema.kind import Kind, Object, version_rank

_PART_VERBS = ("get", "patch", "update")


def _connect() -> dict[str, dict[str, tuple[str, ...]]]:
    """plural → subresource → verbs."""
    grouped: dict[str, dict[str, tuple[str, ...]]] = defaultdict(dict)
    for (plural, subresource), verbs in DECLARED.items():
        grouped[plural][subresource] = verbs
    return grouped


class Discovery:
    """The discovery documents of a set of kinds."""

    def __init__(self, kinds: Iterable[Kind]) -> None:
        self._by_group: dict[str, dict[str, list[Kind]]] = defaultdict(lambda: defaultdict(list))
        for kind in sorted(kinds, key=lambda kind: version_rank(kind.version), reverse=True):
            self._by_group[kind.group][kind.version].append(kind)

    def group_versions(self) -> list[tuple[str, str]]:
        """Every (group, version) with kinds."""
        return [(group, version) for group, versions in self._by_group.items() for version in versions]

    def kinds_of(self, group: str, version: str) -> list[Kind]:
        return self._by_group.get(group, {}).get(version, [])

    def api_versions(self) -> Object:
        """``/api``."""
        return {
            "kind": "APIVersions",
            "versions": list(self._by_group.get("", {})),
            "serverAddressByClientCIDRs": [],
        }

    def group_list(self) -> Object:
        """``/apis``."""
        groups = [self._group(group, list(versions)) for group, versions in self._by_group.items() if group]
        groups.append(self._group(CONNECT_GROUP, [CONNECT_VERSION]))
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}

    def group(self, name: str) -> Object | None:
        """``/apis/GROUP``."""
        if name == CONNECT_GROUP:
            return {"kind": "APIGroup", "apiVersion": "v1", **self._group(name, [CONNECT_VERSION])}
        if not name or name not in self._by_group:
            return None
        return {"kind": "APIGroup", "apiVersion": "v1", **self._group(name, list(self._by_group[name]))}

    @staticmethod
    def _group(name: str, versions: list[str]) -> Object:
        entries = [{"groupVersion": f"{name}/{version}", "version": version} for version in versions]
        return {"name": name, "versions": entries, "preferredVersion": entries[0]}

    def resource_list(self, group: str, version: str) -> Object | None:
        """``/api/v1`` and ``/apis/GROUP/VERSION``."""
        if (group, version) == (CONNECT_GROUP, CONNECT_VERSION):
            resources = [
                {
                    "name": f"{plural}/{subresource}",
                    "singularName": "",
                    "namespaced": plural not in CLUSTER_SCOPED,
                    "kind": _connect_kind(plural),
                    "verbs": list(verbs),
                }
                for (plural, subresource), verbs in DECLARED.items()
            ]
        else:
            kinds = self.kinds_of(group, version)
            if not kinds:
                return None
            resources = [entry for kind in kinds for entry in _legacy(kind)]
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": f"{group}/{version}" if group else version,
            "resources": resources,
        }

    def aggregated(self, *, core: bool, version: str) -> Object:
        """``/api`` or ``/apis`` as an APIGroupDiscoveryList; ``version`` is v2 or v2beta1."""
        items = []
        for group, versions in self._by_group.items():
            if (group == "") == core:
                items.append(
                    {
                        "metadata": {"name": group, "creationTimestamp": None} if group else {},
                        "versions": [_aggregated(one, kinds) for one, kinds in versions.items()],
                    }
                )
        if not core:
            resources = [_connect_parent(plural, subs) for plural, subs in _connect().items()]
            entry = {"version": CONNECT_VERSION, "freshness": "Current", "resources": resources}
            items.append({"metadata": {"name": CONNECT_GROUP}, "versions": [entry]})
        return {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": f"apidiscovery.k8s.io/{version}",
            "metadata": {},
            "items": items,
        }


def _connect_kind(plural: str) -> str:
    return {"virtualmachinepools": "VirtualMachinePool", "nodes": "Node"}.get(plural, "VirtualMachine")


def _legacy(kind: Kind) -> list[Object]:
    entry: Object = {
        "name": kind.plural,
        "singularName": kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(kind.verbs),
    }
    if kind.short_names:
        entry["shortNames"] = list(kind.short_names)
    if kind.categories:
        entry["categories"] = list(kind.categories)
    entries = [entry]
    for subresource in sorted(kind.subresources & routes.SERVED):
        shape = routes.Target(kind, subresource=subresource).shape
        part: Object = {
            "name": f"{kind.plural}/{subresource}",
            "singularName": "",
            "namespaced": kind.namespaced,
            "kind": shape.kind,
            "verbs": list(_PART_VERBS),
        }
        if shape is not kind:
            part |= {"group": shape.group, "version": shape.version}
        entries.append(part)
    return entries


def _response_kind(group: str = "", version: str = "", kind: str = "") -> dict[str, str]:
    return {"group": group, "version": version, "kind": kind}


def _aggregated(version: str, kinds: list[Kind]) -> Object:
    resources = []
    for kind in kinds:
        entry: Object = {
            "resource": kind.plural,
            "responseKind": _response_kind(kind.group, kind.version, kind.kind),
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "singularResource": kind.singular,
            "verbs": list(kind.verbs),
        }
        if kind.short_names:
            entry["shortNames"] = list(kind.short_names)
        if kind.categories:
            entry["categories"] = list(kind.categories)
        if parts := sorted(kind.subresources & routes.SERVED):
            entry["subresources"] = [_aggregated_part(kind, part) for part in parts]
        resources.append(entry)
    return {"version": version, "freshness": "Current", "resources": resources}


def _aggregated_part(kind: Kind, subresource: str) -> Object:
    shape = routes.Target(kind, subresource=subresource).shape
    return {
        "subresource": subresource,
        "responseKind": _response_kind(shape.group, shape.version, shape.kind),
        "verbs": list(_PART_VERBS),
    }


def _connect_parent(plural: str, subresources: dict[str, tuple[str, ...]]) -> Object:
    # A parent without a kind is no resource of its own to clients; only its subresources count.
    return {
        "resource": plural,
        "responseKind": _response_kind(),
        "scope": "Namespaced",
        "singularResource": "",
        "verbs": [],
        "subresources": [
            {
                "subresource": name,
                "responseKind": _response_kind(CONNECT_GROUP, CONNECT_VERSION, _connect_kind(plural)),
                "verbs": list(verbs),
            }
            for name, verbs in subresources.items()
        ],
    }
