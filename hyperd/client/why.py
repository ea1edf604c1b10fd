"""Why an object is not well: the chain of what it waits for, down to the root, and what mends that.

From conditions, events and references alone, so that it works on any home.
"""

from __future__ import annotations

import re

from hyperd.client import sanitize
from hyperd.client.health import GLYPHS, Level, condition, conditions, health
from hyperd.client.hopeless import cannot_go
from hyperd.client.kinds import built_in

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hyperd.client.hopeless import Find
    from hyperd.resources.schema.kind import Object

    Events = Callable[[Object], Sequence[Object]]
    """The events of an object, oldest first."""

_POOL = "VirtualMachinePool"
_MACHINE = re.compile(r'VirtualMachine "([a-z0-9.-]{1,253})"')
_DEEPEST = 8
_MOST = 12
"""So many references of one object are looked at: what somebody wrote has no end."""
_MOST_ASKED = 64
"""So many objects are asked for in all."""
_LONGEST = 4096
"""So much of a text is searched: texts are anybody's."""
CLUSTER_WIDE = frozenset(("ClusterVirtualImage", "VirtualMachineClass", "StorageClass", "Node"))
_NAMED = {
    "virtualMachineClassName": "VirtualMachineClass", "virtualMachineName": "VirtualMachine",
    "virtualMachineIPAddressName": "VirtualMachineIPAddress", "virtualDiskName": "VirtualDisk",
    "virtualDiskSnapshotName": "VirtualDiskSnapshot", "virtualMachineSnapshotName": "VirtualMachineSnapshot",
    "virtualImageName": "VirtualImage", "storageClassName": "StorageClass",
}  # fmt: skip
"""Fields of a spec that name an object → its kind."""
_UNWELL = (Level.BAD, Level.WAITING, Level.BUSY)
_MENDS = (
    (r"networkpolic|\bnft", "see that nftables is there, and what hyperd may read: hv doctor on the node"),
    (r"\b(401|403)\b|unauthorized|denied|forbidden", "the source wants credentials, or refuses these: see "
     "spec.dataSource (imagePullSecret for a registry)"),
    (r"\b404\b|no such (file|image)|not found at", "correct the address in spec.dataSource"),
    (r"html|not a disk image|unknown format|is no image", "the address leads to something else: name the file"),
    (r"checksum|digest", "correct the checksum in spec.dataSource, or mend the source"),
    (r"certificate|tls|x509", "give the source's CA in spec.dataSource (caBundle), or mend its certificate"),
    (r"may not (be imported|point)|not allowed to import|imports\.allowed|loopback|link-local",
     "let it by the setting imports.allowed, or import from elsewhere"),
    (r"resolve|name or service|no address", "correct the host's name in spec.dataSource, or the node's DNS"),
    (r"quota", "take less, remove something, or ask for more: hv get quota"),
    (r"no space|disk is full|storage .*full|out of space", "make room: hv top nodes, hv gc; or use another class"),
    (r"too small|smaller than", "make the disk as large as its image: spec.persistentVolumeClaim.size"),
    (r"memory", "stop a machine, or give this one less memory: hv top nodes"),
    (r"refused|unreachable|timed? ?out|reset by peer", "see whether the source can be reached from the node"),
    (r"bootable|boot device", "attach a disk with a system on it: spec.blockDeviceRefs"),
    (r"libvirt|qemu|kvm", "see the node: hv doctor"),
    (r"upload", "send the bytes: status.imageUploadURLs or status.uploadCommand says where"),
)  # fmt: skip
"""What a text says → what mends it, in the order of certainty."""


class Cause:
    """One object that is not well. ``because`` are those that it waits for and that are not well either."""

    __slots__ = ("because", "kind", "level", "mend", "name", "namespace", "text", "uid", "word")

    def __init__(self, kind: str, namespace: str, name: str, level: Level, word: str, text: str) -> None:
        self.kind = kind
        self.namespace = namespace
        self.name = name
        self.level = level
        self.word = word
        self.text = text
        self.uid = ""
        self.because: list[Cause] = []
        self.mend = ""

    @property
    def well(self) -> bool:
        """Whether there is nothing to mend."""
        return self.level not in _UNWELL and not self.because

    def roots(self) -> Iterator[Cause]:
        """What it all comes from."""
        if not self.because:
            yield self
        for cause in self.because:
            yield from cause.roots()


def why(obj: Object, find: Find, events: Events) -> Cause:
    """How ``obj`` is, and why. ``find`` gives what it refers to."""
    known: dict[tuple[str, str, str], Object | None] = {}

    def once(kind: str, namespace: str, name: str) -> Object | None:
        place = kind, namespace, name
        if place not in known:
            known[place] = find(*place) if len(known) < _MOST_ASKED else {"kind": "Unknown"}
        return known[place]

    return _why(obj, once, events, set(), _DEEPEST)


def _why(obj: Object, find: Find, events: Events, seen: set[tuple[str, str, str]], depth: int) -> Cause:
    metadata = obj.get("metadata") or {}
    state = health(obj)
    kind, name = str(obj.get("kind") or "Object"), str(metadata.get("name") or "")
    namespace = str(metadata.get("namespace") or "")
    cause = Cause(kind, namespace, name, state.level, state.word, state.reason or state.progress)
    cause.uid = str(metadata.get("uid") or "")
    seen.add((kind, namespace, name))
    if metadata.get("deletionTimestamp"):
        cause.text = cannot_go(obj, find) or str(
            (condition(obj, "Terminating") or {}).get("message") or cause.text
        )
    if state.level not in _UNWELL:
        return cause
    for other, where, called in list(references(obj))[:_MOST]:
        if depth <= 0 or (other, where, called) in seen:
            continue
        found = find(other, where, called)
        if found is None:
            missing = Cause(other, where, called, Level.BAD, "is not there", f"{kind} {name} needs it.")
            missing.mend = f"create it, or let {kind} {name} name another one"
            cause.because.append(missing)
        elif found.get("kind") != "Unknown":
            one = _why({"kind": other, **found}, find, events, seen, depth - 1)
            if not one.well:
                cause.because.append(one)
    if not cause.because:
        cause.text = _told(obj, cause.text, events)
        cause.mend = _mend(cause)
    return cause


def _told(obj: Object, text: str, events: Events) -> str:
    """``text``, or where there is none what a condition says, or the last warning."""
    if text:
        return text
    for entry in conditions(obj):
        if entry.get("status") == "False" and (said := entry.get("message") or entry.get("reason")):
            return str(said)
    warnings = [event for event in events(obj) if event.get("type") == "Warning"]
    return str(warnings[-1].get("message") or "") if warnings else ""


def _mend(cause: Cause) -> str:
    if cause.word == "WaitForUserUpload":
        return _MENDS[-1][1]
    text = cause.text[:_LONGEST].lower()
    return next((mend for pattern, mend in _MENDS if re.search(pattern, text)), "")


def references(obj: Object) -> Iterator[tuple[str, str, str]]:
    """(kind, namespace, name) of what the object's spec refers to, and the node that it is on."""
    metadata, status = obj.get("metadata") or {}, obj.get("status")
    here = str(metadata.get("namespace") or "")
    pool = obj.get("kind") == _POOL
    for name in members_named(obj) if pool else ():
        yield "VirtualMachine", here, name
    for kind, named, name in dict.fromkeys(_named_in(obj.get("spec"), 6)):
        if pool and kind == "VirtualDisk":
            continue  # so a template is called
        where = "" if kind in CLUSTER_WIDE else named or here
        # What is in no namespace has to say in which one the other is; where it does not, nobody can look.
        if where or kind in CLUSTER_WIDE:
            yield kind, where, name
    node = (status.get("nodeName") or status.get("node")) if isinstance(status, dict) else None
    if isinstance(node, str) and node:
        yield "Node", "", node


def members_named(obj: Object) -> list[str]:
    """The machines that a pool's conditions speak of."""
    texts = (str(entry.get("message") or "")[:_LONGEST] for entry in conditions(obj))
    return list(dict.fromkeys(name for text in texts for name in _MACHINE.findall(text)))[:_MOST]


def _named_in(value: object, depth: int) -> Iterator[tuple[str, str, str]]:
    """(kind, namespace or empty, name)."""
    if depth <= 0:
        return
    if isinstance(value, list):
        for one in value[:_MOST]:
            yield from _named_in(one, depth - 1)
    elif isinstance(value, dict):
        kind, name = value.get("kind"), value.get("name")
        if isinstance(kind, str) and isinstance(name, str) and kind and name:
            namespace = value.get("namespace")
            yield kind, namespace if isinstance(namespace, str) else "", name
        for key, inner in value.items():
            if isinstance(inner, str) and inner and key in _NAMED:
                yield _NAMED[key], "", inner
            elif isinstance(inner, dict | list):
                yield from _named_in(inner, depth - 1)


def told(cause: Cause, depth: int = 0) -> Iterator[str]:
    """The chain, a line each and safe, with what mends the roots below them."""
    margin = "  " * (depth - 1) + "└ " if depth else ""
    short = {resource.kind: resource.short for resource in built_in()}
    where = "/".join(part for part in (short.get(cause.kind, cause.kind), cause.namespace, cause.name) if part)
    state = f"{GLYPHS[cause.level]} {cause.word}".strip()
    text = f": {cause.text}" if cause.text else ""
    yield sanitize.line(f"{margin}{where}  {state}{text}")
    for one in cause.because:
        yield from told(one, depth + 1)
    if cause.mend:
        yield sanitize.line(f"{'  ' * (depth + 1)}mend: {cause.mend}")
