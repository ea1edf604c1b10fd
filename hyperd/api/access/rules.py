"""What each role allows, as data; and the authorizer that reads it.

The split is the reference's: who reads, who also opens consoles and switches machines, who also edits what lives
in namespaces, who administers. A login that is limited to namespaces has its role in them alone, and may read the
few cluster-wide kinds that a machine's manifest names. The system's namespace is the administrators' alone: what
others list or watch everywhere leaves it out (``authorization.out_of_sight``).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from hyperd.api.access.authorization import Attributes, Rule, is_our_status
from hyperd.api.wire import subresources
from hyperd.api.wire.review_kinds import ASKED
from hyperd.resources.all import EVENT, LEASE, NAMESPACE, RESOURCE_QUOTA, SECRET, VIRTUAL_MACHINE_OPERATION
from hyperd.resources.schema.kind import Kind, Registry
from hyperd.resources.values.names import SYSTEM_NAMESPACE
from hyperd.roles import NAMESPACES_EXTRA, Role
from hyperd.store.interface import User

MASTERS = "system:masters"
"""Kubernetes' group of those who may do everything."""
AUTHENTICATED = "system:authenticated"

_READ = ("get", "list", "watch")
_WRITE = ("create", "update", "patch", "delete", "deletecollection")
_CATALOGUE = frozenset({"virtualmachineclasses", "clustervirtualimages", "storageclasses"})
_SYSTEMS_OWN = frozenset({EVENT.plural, LEASE.plural, RESOURCE_QUOTA.plural})
"""Kinds in namespaces that only the daemon and administrators write."""
_OPERATOR_SESSIONS = ("console", "vnc", "portforward", "log", "cancelevacuation")
_REVIEWS = (
    ("authorization.k8s.io", ("selfsubjectaccessreviews", "selfsubjectrulesreviews")),
    ("authentication.k8s.io", ("selfsubjectreviews",)),
)
_PATHS = ("/", "/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", "/healthz", "/livez", "/readyz",
          "/version", "/version/")  # fmt: skip

BASIC: Sequence[Rule] = (
    Rule(("get",), paths=_PATHS),
    *(Rule(("create",), (group,), resources) for group, resources in _REVIEWS),
)
"""Everybody whose name is known: what there is, and what one may do oneself."""


def _offered(kind: Kind, verbs: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(verb for verb in verbs if verb in kind.verbs)


def _with_status(kinds: Iterable[Kind]) -> Iterator[Kind]:
    return (kind for kind in kinds if "status" in kind.subresources)


def _readable(kinds: Iterable[Kind]) -> Iterator[Rule]:
    for kind in kinds:
        yield Rule(_offered(kind, _READ), (kind.group,), (kind.plural,))
    for kind in _with_status(kinds):
        yield Rule(("get",), (kind.group,), (f"{kind.plural}/status",))


def _viewer(kinds: Sequence[Kind]) -> Iterator[Rule]:
    yield from _readable([kind for kind in kinds if kind.plural != SECRET.plural])
    yield Rule(("get",), paths=("/metrics",))


def _operator() -> Iterator[Rule]:
    for (plural, name), verbs in subresources.DECLARED.items():
        if name in _OPERATOR_SESSIONS:
            yield Rule(verbs, (subresources.GROUP,), (f"{plural}/{name}",))
    kind = VIRTUAL_MACHINE_OPERATION
    yield Rule(("create", "delete"), (kind.group,), (kind.plural,))


def _editor(kinds: Sequence[Kind]) -> Iterator[Rule]:
    for (plural, name), verbs in subresources.DECLARED.items():
        if plural not in subresources.CLUSTER_SCOPED:
            yield Rule(verbs, (subresources.GROUP,), (f"{plural}/{name}",))
    for kind in kinds:
        if not kind.namespaced or kind.plural in _SYSTEMS_OWN:
            continue
        yield Rule(_offered(kind, (*_READ, *_WRITE)), (kind.group,), (kind.plural,))
        if "scale" in kind.subresources:
            yield Rule(("get", "update", "patch"), (kind.group,), (f"{kind.plural}/scale",))


Table = Mapping[tuple[str, str], frozenset[str]]
"""(group, resource[/subresource]) → verbs; paths are under the group ``_PATH``."""
_PATH = "/"


def _table(rules: Iterable[Rule]) -> Table:
    table: dict[tuple[str, str], frozenset[str]] = defaultdict(frozenset)
    for rule in rules:
        for path in rule.paths:
            table[_PATH, path] |= frozenset(rule.verbs)
        for group in rule.groups:
            for resource in rule.resources:
                table[group, resource] |= frozenset(rule.verbs)
    return dict(table)


def _holds(table: Table, attributes: Attributes) -> bool:
    if not attributes.path:
        return attributes.verb in table.get((attributes.group, attributes.qualified), ())
    verb = "get" if attributes.verb == "head" else attributes.verb
    path = attributes.path
    while path:
        if verb in table.get((_PATH, path), ()):
            return True
        # ``/apis/*`` covers all below ``/apis/``.
        path = path.removesuffix("/*").rpartition("/")[0]
        path = f"{path}/*" if path else ""
    return False


@dataclass(frozen=True)
class _Grant:
    role: Role
    namespaces: frozenset[str] | None
    """None is everywhere, cluster-wide kinds included."""


@lru_cache(maxsize=1024)
def _grant(user: User) -> _Grant | None:
    """The strongest role that the user's groups carry."""
    limits = dict(user.extra).get(NAMESPACES_EXTRA)
    namespaces = None if limits is None else frozenset(limits)
    if MASTERS in user.groups:
        return _Grant(Role.ADMIN, namespaces)
    roles = [role for role in Role if role.group in user.groups]
    return _Grant(roles[-1], namespaces) if roles else None


class RoleAuthorizer:
    """Decides by the role that a user's groups carry, and the namespaces that the login is limited to."""

    def __init__(self, kinds: Registry) -> None:
        # A kind that is served in two groups has a name in each.
        known = list({(kind.group, kind.plural): kind for kind in kinds.served()}.values())
        viewer = [*_viewer(known)]
        operator = [*viewer, *_operator()]
        editor = [*operator, *_editor(known)]
        self._basic = _table(BASIC)
        self._catalogue = _table(_readable([kind for kind in known if kind.plural in _CATALOGUE]))
        self._tables: Mapping[Role, Table] = {
            Role.VIEWER: _table(viewer),
            Role.OPERATOR: _table(operator),
            Role.EDITOR: _table(editor),
        }
        self._cluster_wide = frozenset(
            (kind.group, kind.plural) for kind in (*known, *ASKED) if not kind.namespaced
        ) | {(subresources.GROUP, plural) for plural in subresources.CLUSTER_SCOPED}

    async def allows(self, user: User, attributes: Attributes) -> bool:
        attributes = self._placed(attributes)
        grant = _grant(user)
        if is_our_status(attributes) and attributes.verb not in _READ and MASTERS not in user.groups:
            return False
        if attributes.verb == "impersonate" and attributes.name == MASTERS and MASTERS not in user.groups:
            # Nobody becomes root by asking for it.
            return False
        if grant is not None and grant.role is Role.ADMIN and grant.namespaces is None:
            return True
        if AUTHENTICATED in user.groups and _holds(self._basic, attributes):
            return True
        if grant is None:
            return False
        if grant.namespaces is not None:
            return self._allows_within(grant, grant.namespaces, attributes)
        return attributes.namespace != SYSTEM_NAMESPACE and _holds(self._tables[grant.role], attributes)

    def _placed(self, attributes: Attributes) -> Attributes:
        """``attributes`` as a request has them: who asks about a right may name any namespace beside any kind.

        What is cluster-wide is in no namespace, but for a Namespace, which is in itself: who is limited to it may
        look at it.
        """
        if (attributes.group, attributes.resource) not in self._cluster_wide:
            return attributes
        is_namespace = (attributes.group, attributes.resource) == (NAMESPACE.group, NAMESPACE.plural)
        return replace(attributes, namespace=attributes.name if is_namespace else "")

    def _allows_within(self, grant: _Grant, namespaces: frozenset[str], attributes: Attributes) -> bool:
        if attributes.path:
            return False
        if attributes.namespace not in namespaces or attributes.namespace in ("", SYSTEM_NAMESPACE):
            return _holds(self._catalogue, attributes)
        if (attributes.group, attributes.resource) == (NAMESPACE.group, NAMESPACE.plural):
            return attributes.verb == "get" and not attributes.subresource
        if attributes.resource == RESOURCE_QUOTA.plural and attributes.verb not in _READ:
            # Whom a limit is for does not set it.
            return False
        return grant.role is Role.ADMIN or _holds(self._tables[grant.role], attributes)

    async def rules(self, user: User, namespace: str) -> Sequence[Rule]:
        found = list(_rules(self._basic)) if AUTHENTICATED in user.groups else []
        grant = _grant(user)
        if grant is None:
            return found
        everywhere = grant.namespaces is None
        if not everywhere:
            found += _rules(self._catalogue)
        if grant.role is Role.ADMIN and everywhere:
            return [*found, Rule(("*",), ("*",), ("*",)), Rule(("*",), paths=("*",))]
        if everywhere and namespace != SYSTEM_NAMESPACE:
            return [*found, *_rules(self._tables[grant.role])]
        if everywhere:
            return [*found, *_rules(self._part(grant.role, cluster_wide=True))]
        if namespace == SYSTEM_NAMESPACE or namespace not in (grant.namespaces or ()):
            return found
        found.append(Rule(("get",), (NAMESPACE.group,), (NAMESPACE.plural,), names=(namespace,)))
        if grant.role is Role.ADMIN:
            return [*found, Rule(("*",), ("*",), ("*",))]
        return [*found, *_rules(self._part(grant.role, cluster_wide=False))]

    def _part(self, role: Role, *, cluster_wide: bool) -> Table:
        """What ``role`` may with what is cluster-wide, paths included, or with what is in namespaces."""
        return {
            key: verbs
            for key, verbs in self._tables[role].items()
            if (key[0] == _PATH or (key[0], key[1].partition("/")[0]) in self._cluster_wide) is cluster_wide
        }


def _rules(table: Table) -> Iterator[Rule]:
    """A table as rules, those of the same group and verbs joined."""
    joined: dict[tuple[str, frozenset[str]], list[str]] = defaultdict(list)
    for (group, resource), verbs in table.items():
        joined[group, verbs].append(resource)
    for (group, verbs), resources in joined.items():
        ordered = tuple(verb for verb in (*_READ, *_WRITE) if verb in verbs)
        if group == _PATH:
            yield Rule(ordered, paths=tuple(resources))
        else:
            yield Rule(ordered, (group,), tuple(resources))
