"""Whether somebody may: what is asked for, in Kubernetes' terms, and who decides. Deny by default."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

from hyperd.errors import Forbidden
from hyperd.resources.all import NAMESPACE
from hyperd.resources.schema.kind import Kind
from hyperd.resources.values.names import GROUP, SYSTEM_NAMESPACE
from hyperd.store.interface import FieldRequirement, User


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


async def out_of_sight(authorizer: Decider, user: User, asked: Attributes, kind: Kind) -> FieldRequirement | None:
    """What leaves out, of a list or watch of ``kind`` everywhere, the part of it that ``user`` may not see.

    None where there is nothing to leave out. Whoever asks about the system's namespace itself hears the same.
    """
    if not kind.namespaced and kind is not NAMESPACE:
        return None
    name = "" if kind.namespaced else SYSTEM_NAMESPACE
    if await authorizer.allows(user, replace(asked, namespace=SYSTEM_NAMESPACE, name=name)):
        return None
    path = "metadata.namespace" if kind.namespaced else "metadata.name"
    return FieldRequirement(path, SYSTEM_NAMESPACE, equal=False)


def is_our_status(attributes: Attributes) -> bool:
    """Whether it is about the status of an object of ours, which controllers believe."""
    return attributes.group == GROUP and attributes.subresource == "status"


async def require(authorizer: Decider, user: User, attributes: Attributes) -> None:
    """Raises Forbidden with kube-apiserver's sentence."""
    if await authorizer.allows(user, attributes):
        return
    why = ""
    if is_our_status(attributes) and attributes.verb != "get":
        why = ": what hyperd has seen stands there, so hyperd alone writes it"
    subject = f"{attributes.resource}.{attributes.group}" if attributes.group else attributes.resource
    if attributes.name:
        subject += f' "{attributes.name}"'
    raise Forbidden(
        f'{f"{subject} is " if subject else ""}forbidden: User "{user.name}" cannot {attributes}{why}',
        kind=attributes.resource,
        group=attributes.group,
        name=attributes.name,
    )
