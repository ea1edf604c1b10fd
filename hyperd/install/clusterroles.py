"""What accounts of a cluster may do with hyperd's API, as ClusterRoles, made from the kinds.

Two sorts: the daemon's own, with what its controllers write and no more, and six for people, each of which may do
all that the one before it may. The split is the reference's.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from hyperd.api.serving.registration import API_SERVICE_OBJECT, WEBHOOKS
from hyperd.api.wire.subresources import CLUSTER_SCOPED, DECLARED
from hyperd.api.wire.subresources import GROUP as AGGREGATED
from hyperd.controllers.all import CONTROLLERS
from hyperd.jsontypes import JsonObject
from hyperd.resources import all as kinds
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.names import CA_SECRET, GROUP, SYSTEM_NAMESPACE

READ: Final = ("get", "list", "watch")
WRITE: Final = ("create", "delete", "deletecollection", "patch", "update")
ACCOUNT: Final = "hyperd"
"""The ServiceAccount of all daemons."""

_SESSIONS: Final = frozenset({"console", "vnc", "portforward", "log"})
_CATALOGUE: Final = (kinds.CLUSTER_VIRTUAL_IMAGE, kinds.VIRTUAL_MACHINE_CLASS)
_LEASES: Final = (kinds.VIRTUAL_MACHINE_IP_ADDRESS_LEASE, kinds.VIRTUAL_MACHINE_MAC_ADDRESS_LEASE)
Grants = Mapping[tuple[str, str], Sequence[str]]
"""(group, resource[/subresource]) → verbs."""


def _ours(*, namespaced: bool) -> list[Kind]:
    return [kind for kind in kinds.KINDS if not kind.core and kind.namespaced is namespaced]


def _grants(some: Iterable[Kind], verbs: Sequence[str], subresource: str = "") -> dict[tuple[str, str], set[str]]:
    suffix = f"/{subresource}" if subresource else ""
    return {(kind.group, f"{kind.plural}{suffix}"): set(verbs) for kind in some}


def _levels() -> list[tuple[str, str, dict[tuple[str, str], set[str]]]]:
    """(name, built-in role that takes it in, what it adds to the one before it)."""
    in_namespaces = {key: verbs for key, verbs in DECLARED.items() if key[0] not in CLUSTER_SCOPED}
    sessions: dict[tuple[str, str], set[str]] = {}
    actions: dict[tuple[str, str], set[str]] = {}
    for (plural, name), verbs in in_namespaces.items():
        (sessions if name in _SESSIONS else actions)[AGGREGATED, f"{plural}/{name}"] = set(verbs)
    catalogue_uploads = {
        (AGGREGATED, f"{plural}/{name}"): set(verbs)
        for (plural, name), verbs in DECLARED.items()
        if plural in CLUSTER_SCOPED and plural != kinds.NODE.plural
    }
    scaled = [kind for kind in _ours(namespaced=True) if "scale" in kind.subresources]
    devices = (kinds.NODE_USB_DEVICE,)
    return [
        ("viewer", "view", _grants([*_ours(namespaced=True), *_CATALOGUE], READ)),
        ("privileged-user", "edit", sessions),
        (
            "editor",
            "edit",
            _grants(_ours(namespaced=True), (*READ, *WRITE))
            | _grants(scaled, ("get", "patch", "update"), "scale")
            | actions,
        ),
        ("admin", "admin", _grants([*_LEASES, *devices], READ)),
        ("cluster-editor", "", _grants([*_CATALOGUE, *devices], (*READ, *WRITE)) | catalogue_uploads),
        ("cluster-admin", "", _grants(_LEASES, (*READ, *WRITE))),
    ]


def for_people() -> list[Object]:
    """The six ClusterRoles, from the weakest to the strongest."""
    roles: list[Object] = []
    total: dict[tuple[str, str], set[str]] = defaultdict(set)
    for name, into, grants in _levels():
        for key, verbs in grants.items():
            total[key] |= verbs
            if "delete" in verbs:
                total[key].add("get")  # a complete deletion is not answered with the object
        role = _role(f"hyperd:{name}", _rules({key: sorted(verbs) for key, verbs in total.items()}))
        if into:
            role["metadata"]["labels"] = {f"rbac.authorization.k8s.io/aggregate-to-{into}": "true"}
        roles.append(role)
    return roles


def for_metrics() -> Object:
    """The ClusterRole of who reads daemons' metrics, which is no person."""
    return _role("hyperd:metrics", [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}])


def for_daemon() -> list[Object]:
    """ClusterRole, Role and bindings of the daemon's account."""
    ours = [*_ours(namespaced=True), *_ours(namespaced=False)]
    total: dict[tuple[str, str], set[str]] = defaultdict(set)
    for grants in (
        _grants(ours, READ),
        _grants([kind for kind in ours if "status" in kind.subresources], ("patch", "update"), "status"),
        _grants([kind for kind in ours if kind.finalizer], ("patch", "update")),
        *(
            _grants((kind,), tuple(verbs))
            for controller in CONTROLLERS
            for kind, verbs in controller.writes.items()
        ),
        # What a home begins with, who leads, and what is told of it all.
        _grants((kinds.VIRTUAL_MACHINE_CLASS,), ("create",)),
        _grants((kinds.NODE, kinds.STORAGE_CLASS), READ),
        # What NetworkPolicies say of machines' links, and of whom they speak beside Pods.
        _grants((kinds.NETWORK_POLICY, kinds.NAMESPACE, kinds.SERVICE, kinds.ENDPOINT_SLICE), ("list", "watch")),
        # By name, for user data of machines bound to the node and for pulling images; nobody follows Secrets.
        _grants((kinds.SECRET,), ("get",)),
        _grants((kinds.STORAGE_CLASS,), ("create",)),
        _grants((kinds.NAMESPACE,), ("get",)),
        _grants((kinds.EVENT,), ("create", "patch")),
        _grants((kinds.LEASE,), ("create", "delete", "get", "update")),
        {("authorization.k8s.io", "subjectaccessreviews"): {"create"}},
        {("authentication.k8s.io", "tokenreviews"): {"create"}},
    ):
        for key, verbs in grants.items():
            total[key] |= verbs
            if "delete" in verbs:
                total[key].add("get")  # a complete deletion is not answered with the object
    rules = _rules({key: sorted(verbs) for key, verbs in total.items()})
    rules += [
        _named("admissionregistration.k8s.io", "mutatingwebhookconfigurations", WEBHOOKS),
        _named("admissionregistration.k8s.io", "validatingwebhookconfigurations", WEBHOOKS),
        _named(
            "apiextensions.k8s.io",
            "customresourcedefinitions",
            kinds.VIRTUAL_MACHINE_CLASS.qualified_resource,
        ),
        _named("apiregistration.k8s.io", "apiservices", API_SERVICE_OBJECT),
    ]
    subject = {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": SYSTEM_NAMESPACE}
    own = _role("hyperd", [
        {"apiGroups": [""], "resources": ["secrets"], "verbs": ["create"]},
        {"apiGroups": [""], "resources": ["secrets"], "resourceNames": [CA_SECRET], "verbs": ["get", "update"]},
        {"apiGroups": [""], "resources": ["configmaps"], "verbs": ["create", "get"]},
        {"apiGroups": [kinds.LEASE.group], "resources": [kinds.LEASE.plural], "verbs": ["list", "patch"]},
    ], namespace=SYSTEM_NAMESPACE)  # fmt: skip
    return [
        _role("hyperd", rules),
        _binding("hyperd", "ClusterRole", "hyperd", subject),
        own,
        _binding("hyperd", "Role", "hyperd", subject, namespace=SYSTEM_NAMESPACE),
        # How the API server proves itself to the servers behind it; Kubernetes has the role.
        _binding(
            "hyperd-authentication-reader",
            "Role",
            "extension-apiserver-authentication-reader",
            subject,
            namespace="kube-system",
        ),
    ]


def _rules(grants: Grants) -> list[Object]:
    """``grants`` as rules, resources of one group with the same verbs together."""
    together: dict[tuple[str, tuple[str, ...]], list[str]] = defaultdict(list)
    for (group, resource), verbs in grants.items():
        together[group, tuple(verbs)].append(resource)
    return [
        {"apiGroups": [group], "resources": sorted(resources), "verbs": list(verbs)}
        for (group, verbs), resources in sorted(together.items(), key=lambda item: (item[0][0] != GROUP, item))
    ]


def _named(group: str, resource: str, name: str) -> Object:
    return {"apiGroups": [group], "resources": [resource], "resourceNames": [name], "verbs": ["get", "update"]}


def _role(name: str, rules: list[Object], *, namespace: str = "") -> Object:
    metadata: JsonObject = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    kind = "Role" if namespace else "ClusterRole"
    return {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": metadata, "rules": rules}


def _binding(name: str, kind: str, role: str, subject: Object, *, namespace: str = "") -> Object:
    metadata: JsonObject = {"name": name}
    if namespace:
        metadata["namespace"] = namespace
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding" if namespace else "ClusterRoleBinding",
        "metadata": metadata,
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": kind, "name": role},
        "subjects": [subject],
    }
