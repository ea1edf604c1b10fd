"""What a rule gets to work with: the request, the daemon's policy, and where to put its verdict."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Network
from typing import Generic

from hyperd.errors import Cause
from hyperd.resources.core import storage_class
from hyperd.resources.schema.kind import AnyObject, Kind, S_co, V, V_co
from hyperd.resources.schema.metadata import quoted
from hyperd.settings import ClassRules
from hyperd.store.interface import SYSTEM, AdmissionRequest, User

May = Callable[[User, str, Kind, str, str], Awaitable[bool]]
"""``may(user, verb, kind, namespace, name)``: whether the home lets the user do that."""


async def nobody_may(user: User, verb: str, kind: Kind, namespace: str, name: str) -> bool:
    """Where nobody can be asked, the answer is no."""
    return False


@dataclass(frozen=True)
class Policy:
    """What rules must know of the daemon's settings, and whom they ask about users."""

    virtual_machine_cidrs: tuple[IPv4Network, ...] = ()
    """Ranges of the main network; without any there is no main network."""
    may: May = nobody_may
    provisioners: Sequence[str] = (storage_class.PROVISIONER,)
    """What a StorageClass may name for volumes to be made."""
    claims: bool = False
    """Whether disks may be of any other's, too."""
    migrates: bool = False
    """Whether machines are Pods, and can be moved from node to node."""
    disk_classes: ClassRules = field(default_factory=ClassRules)
    image_classes: ClassRules = field(default_factory=ClassRules)


class Context(Generic[V_co, S_co]):
    """One write under review. Rules read it, change ``new`` in place, and record what they find.

    ``V_co`` and ``S_co`` are the views of the kind and of its spec, for mypy alone.
    """

    def __init__(self, request: AdmissionRequest[V_co], policy: Policy) -> None:
        if request.new is None:
            raise ValueError("there is nothing to review in a deletion")
        self.request = request
        self.policy = policy
        self.new = request.new
        self.old = request.old
        self.causes: list[Cause] = []
        self.warnings: list[str] = []
        self.denial = ""
        """Why the user may not do this at all: a refusal with 403, whatever else is wrong."""

    @property
    def creating(self) -> bool:
        return self.old is None

    @property
    def spec(self) -> S_co:
        """The spec wanted; rules may fill in defaults."""
        spec: S_co = self.new["spec"]
        return spec

    @property
    def old_spec(self) -> S_co:
        """The former spec; empty on create."""
        former: AnyObject = {"spec": {}} if self.old is None else self.old
        spec: S_co = former["spec"]
        return spec

    @property
    def spec_changed(self) -> bool:
        return self.old is None or self.new.get("spec") != self.old.get("spec")

    @property
    def phase(self) -> str:
        """The phase of the stored object; empty before the first."""
        return "" if self.old is None else str((self.old.get("status") or {}).get("phase") or "")

    @property
    def by_system(self) -> bool:
        """Whether a controller of ours writes."""
        return self.request.user == SYSTEM

    async def find(self, kind: Kind[V], name: str) -> V | None:
        """An object of the request's namespace, or a cluster-wide one."""
        namespace = self.request.namespace if kind.namespaced else ""
        return await self.request.reader.find(kind, namespace, name)

    async def require(self, path: str, verb: str, kind: Kind, namespace: str, name: str = "") -> None:
        """Deny unless the user may also do that to the object that ``path`` is about: it reaches further."""
        user = self.request.user
        if self.by_system or self.denial or await self.policy.may(user, verb, kind, namespace, name):
            return
        where = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
        self.denial = (
            f'{self.request.kind.qualified_resource} "{self.request.name}" is forbidden: {path}: '
            f'User "{user.name}" cannot {verb} resource "{kind.plural}" in API group "{kind.group}" {where}'
        )

    def invalid(self, path: str, value: object, text: str) -> None:
        """Refuse: the value at ``path`` is wrong, and ``text`` says how."""
        self.causes.append(Cause(path, f"Invalid value: {quoted(value)}: {text}"))

    def required(self, path: str, text: str) -> None:
        """Refuse: ``path`` is missing."""
        self.causes.append(Cause(path, f"Required value: {text}", "FieldValueRequired"))

    def forbidden(self, path: str, text: str) -> None:
        """Refuse: ``path`` may not be so."""
        self.causes.append(Cause(path, f"Forbidden: {text}", "FieldValueForbidden"))

    def duplicate(self, path: str, value: object) -> None:
        """Refuse: the value at ``path`` is there twice."""
        self.causes.append(Cause(path, f"Duplicate value: {quoted(value)}", "FieldValueDuplicate"))

    def warn(self, text: str) -> None:
        """Accept, and tell the user."""
        self.warnings.append(text)


def said(value: object) -> object:
    """``value`` without what says nothing: who has Go's types reads an object and writes it back with such."""
    if not isinstance(value, Mapping):
        return None if value in ("", []) else value
    return {name: kept for name, inner in value.items() if (kept := said(inner)) is not None} or None
