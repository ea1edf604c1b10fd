"""Whether somebody may: what is asked for, in Kubernetes' terms, and who decides. Deny by default."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from hyperd.errors import Forbidden
from hyperd.resources.kind import Kind
from hyperd.store.interface import User


@dataclass(frozen=True)
class Attributes:
    """What is asked for, in Kubernetes' terms. ``path`` is set for what is no resource."""

    verb: str
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    """Empty for what is cluster-wide, and for all namespaces at once."""
    name: str = ""
    path: str = ""

    def __str__(self) -> str:
        if self.path:
            return f'{self.verb} path "{self.path}"'
        where = f' in the namespace "{self.namespace}"' if self.namespace else " at the cluster scope"
        return f'{self.verb} resource "{self.qualified}" in API group "{self.group}"{where}'

    @property
    def qualified(self) -> str:
        """``resource``, or ``resource/subresource``, as rules name it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


@dataclass(frozen=True)
class Rule:
    """Verbs that somebody may use: on resources of some groups, or on paths. ``*`` stands for all."""

    verbs: tuple[str, ...]
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    """Objects that the rule is limited to; none means all."""


class Decider(Protocol):
    """Decides on every request that is not public."""

    async def allows(self, user: User, attributes: Attributes) -> bool:
        """Whether ``user`` may."""


class Authorizer(Decider, Protocol):
    """Also knows all that it would allow."""

    async def rules(self, user: User, namespace: str) -> Sequence[Rule]:
        """What ``user`` may do in ``namespace``, and on paths and cluster-wide, for people to read."""


def asking(authorizer: Decider) -> Callable[[User, str, Kind, str, str], Awaitable[bool]]:
    """``authorizer`` as admission's rules ask it: ``may(user, verb, kind, namespace, name)``."""

    async def may(user: User, verb: str, kind: Kind, namespace: str, name: str) -> bool:
        wanted = Attributes(verb, kind.group, kind.plural, namespace=namespace, name=name)
        return await authorizer.allows(user, wanted)

    return may


async def require(authorizer: Decider, user: User, attributes: Attributes) -> None:
    """Raises Forbidden with kube-apiserver's sentence."""
    if await authorizer.allows(user, attributes):
        return
    subject = f"{attributes.resource}.{attributes.group}" if attributes.group else attributes.resource
    if attributes.name:
        subject += f' "{attributes.name}"'
    raise Forbidden(
        f'{f"{subject} is " if subject else ""}forbidden: User "{user.name}" cannot {attributes}',
        kind=attributes.resource,
        group=attributes.group,
        name=attributes.name,
    )
