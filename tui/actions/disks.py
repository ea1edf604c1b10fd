"""Disks that grow, and disks and images that come to machines and go, while these run."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from hyperd.client import devices, sanitize
from hyperd.client.health import health
from hyperd.client.shapes import mapping
from hyperd.client.snapshots import DISK, MACHINE, resource
from hyperd.errors import BadRequest, Conflict, NotFound
from tui.action import Parameters, Target, action
from tui.bulk import Deed, Tell, carry_out
from tui.desk import Desk
from tui.ending import ended
from tui.kind import Kind
from tui.making import Maker
from tui.recipe import PLURALS, SHORT
from tui.shelf import Object
from tui.widgets.entries import Entry

_MACHINES = "virtualmachines"
_DEVICES = ("virtualdisks", "virtualimages", "clustervirtualimages")
_ON = ("Running", "Migrating")


@dataclass(frozen=True)
class Size(Parameters):
    """``20Gi``, or ``+10Gi`` beyond what it has."""

    size: str = ""


@dataclass(frozen=True)
class Other(Parameters):
    """The machine that a device is attached to, or the device (``vd/data``) of a machine."""

    other: str = ""


def _resize(desk: Desk, targets: Sequence[Target], given: Size) -> None:
    target = targets[0]
    if given.size:
        desk.work(_grown(desk, target, given.size), "write")
        return
    from tui.screens.form import Form

    now = str(mapping(target.obj.get("status")).get("capacity") or "")
    desk.push(
        Form(
            f"Size of {desk.named(target.key)}",
            [Entry("size", "size", now, "20Gi, or +10Gi for so much more; a disk never shrinks.", needed=True)],
            lambda values: desk.work(_grown(desk, target, values["size"]), "write"),
            check=lambda values: _refused_size(target.obj, values["size"]),
            note=f"It has {now}. Machines go on meanwhile, and see the new size.",
        )
    )


def _refused_size(disk: Object, wanted: str) -> str:
    try:
        devices.grown(disk, wanted)
    except BadRequest as err:
        return err.message
    return ""


async def _grown(desk: Desk, target: Target, wanted: str) -> None:
    key, disks = target.key, resource(DISK)
    client, size = desk.fleet.connected(key.home), devices.grown(target.obj, wanted)
    made, _ = await client.patch(disks, key.namespace, key.name, devices.growth(size))
    desk.say(f"{key.name} is to have {size}")
    await ended(
        client, disks, made, lambda how: desk.say(f"{key.name}: {how}"), met=lambda disk: devices.has(disk, size)
    )
    desk.say(f"{key.name} has {size}")


def _pair(target: Target, other: str) -> tuple[str, str, str]:
    """(kind, name, machine) of a device and its machine, of which ``other`` names the one that is not the target.

    Raises BadRequest.
    """
    if target.kind.plural == _MACHINES:
        short, slash, name = other.rpartition("/")
        kind = SHORT.get(short if slash else "vd", "")
        if kind not in devices.DEVICES or not name:
            raise BadRequest(f"{other}: write vd/NAME, vi/NAME or cvi/NAME")
        return kind, name, target.key.name
    return SHORT[PLURALS[target.kind.plural]], target.key.name, other.removeprefix("vm/")


def _attach(desk: Desk, targets: Sequence[Target], given: Other) -> None:
    target = targets[0]
    work = _attached(desk, target, given.other) if given.other else _ask_attach(desk, target)
    desk.work(work, "write" if given.other else "attach", opens=not given.other)


async def _ask_attach(desk: Desk, target: Target) -> None:
    """To which machine, or which device."""
    from tui.screens.form import Form

    maker = Maker(desk.fleet.connected(target.key.home), desk.fleet.resources.values())
    to_machine = target.kind.plural == _MACHINES
    plurals = _DEVICES if to_machine else (_MACHINES,)
    known = await maker.names(plurals, _namespace(desk, target))
    names = tuple(name for plural in plurals for name in known.get(plural, ()))
    what = "A disk or image: vd/NAME, vi/NAME or cvi/NAME." if to_machine else "To which machine of the namespace."
    desk.push(
        Form(
            f"Attach {'to ' if to_machine else ''}{desk.named(target.key)}",
            [Entry("other", "what" if to_machine else "machine", "", what, names, needed=True)],
            lambda values: desk.work(_attached(desk, target, values["other"]), "write"),
            note="It comes at once where the machine runs, and else when it starts.",
        )
    )


def _namespace(desk: Desk, target: Target) -> str:
    """Of the machine: an image for all namespaces is in none. Raises BadRequest."""
    if namespace := target.key.namespace or desk.trail.namespace:
        return namespace
    raise BadRequest(f"{target.key.name} is in no namespace: choose the machine's with n")


async def _attached(desk: Desk, target: Target, other: str) -> None:
    kind, name, machine = _pair(target, other)
    namespace, client = _namespace(desk, target), desk.fleet.connected(target.key.home)
    found = await client.get(resource(MACHINE), namespace, machine)
    attachments = resource(devices.ATTACHMENT)
    made = await client.create(attachments, namespace, devices.attachment(namespace, kind, name, machine))
    if health(found).word not in _ON:
        desk.say(f"{machine} is {health(found).word}, and has {name} when it starts")
        return
    desk.say(f"{name} is being attached to {machine}")
    end = await ended(
        client, attachments, made, lambda how: desk.say(f"{name}: {how}"),
        met=lambda each: health(each).word in ("Attached", "Failed"),
    )  # fmt: skip
    if health(end).word == "Failed":
        metadata = end["metadata"]
        await client.delete(attachments, namespace, metadata["name"], uid=str(metadata.get("uid") or ""))
        raise Conflict(f"{name} cannot be attached to {machine}: {health(end).reason}")
    desk.say(f"{name} is attached to {machine}")


def _detach(desk: Desk, targets: Sequence[Target], given: Other) -> None:
    desk.work(_ask_detach(desk, targets[0], given.other), "detach", opens=True)


async def _ask_detach(desk: Desk, target: Target, other: str) -> None:
    """Which one, where there are several; then whether."""
    from tui.screens.form import Form

    namespace, client = _namespace(desk, target), desk.fleet.connected(target.key.home)
    known, _, _ = await client.list(resource(devices.ATTACHMENT), namespace)
    mine = {_other(target, each): each for each in known if _is_of(target, each)}
    if other:
        mine = {word: each for word, each in mine.items() if other in (word, word.partition("/")[2])}
    if not mine:
        raise NotFound(
            f"nothing is attached to {target.key.name} that could go; a device of a spec is taken out there"
        )

    def go(word: str) -> None:
        _carry_detach(desk, target, namespace, word, mine[word])

    if len(mine) == 1:
        go(next(iter(mine)))
        return
    entry = Entry("other", "which", next(iter(mine)), "What goes.", tuple(mine), closed=True)
    desk.push(Form(f"Detach from {desk.named(target.key)}", [entry], lambda values: go(values["other"])))


def _is_of(target: Target, attachment: Object) -> bool:
    spec = mapping(attachment.get("spec"))
    if target.kind.plural == _MACHINES:
        return bool(spec.get("virtualMachineName") == target.key.name)
    kind = SHORT[PLURALS[target.kind.plural]]
    return bool(spec.get("blockDeviceRef") == {"kind": kind, "name": target.key.name})


def _other(target: Target, attachment: Object) -> str:
    spec = mapping(attachment.get("spec"))
    if target.kind.plural != _MACHINES:
        return f"vm/{spec.get('virtualMachineName')}"
    reference = mapping(spec.get("blockDeviceRef"))
    short = next((short for short, kind in SHORT.items() if kind == reference.get("kind")), "?")
    return f"{short}/{reference.get('name')}"


def _carry_detach(desk: Desk, target: Target, namespace: str, word: str, attachment: Object) -> None:
    metadata = attachment["metadata"]

    async def do(_: Target, tell: Tell) -> str:
        client, attachments = desk.fleet.connected(target.key.home), resource(devices.ATTACHMENT)
        uid = str(metadata.get("uid") or "")
        await client.delete(attachments, namespace, metadata["name"], uid=uid)
        tell(f"{word} is being detached")
        with suppress(Conflict):  # it is gone, which is what is wanted
            await ended(client, attachments, attachment, lambda how: tell(f"{word}: {how}"), met=lambda _: False)
        return f"{word} is detached from {target.key.name}"

    asks = f"{sanitize.line(word)}: what the guest has not written to a disk that goes is lost."
    carry_out(desk, Deed("detach from", asks, do), [target])


def _is_disk(kind: Kind) -> bool:
    return kind.plural == "virtualdisks"


def _has_devices(kind: Kind) -> bool:
    return kind.plural in (_MACHINES, *_DEVICES)


def _unsized(target: Target) -> str:
    return "" if mapping(target.obj.get("status")).get("capacity") else f"is {health(target.obj).word}"


ACTIONS = (
    action(
        "resize", "S", "resize", "have a disk grow", "Disks", _resize, Size, words="resize grow", applies=_is_disk,
        refuses=_unsized, needs=lambda _: "patch virtualdisks",
    ),
    action(
        "attach_device", "A", "attach", "attach a disk or image to a machine", "Disks", _attach, Other,
        words="plug", applies=_has_devices, needs=lambda _: "create virtualmachineblockdeviceattachments",
    ),
    action(
        "detach_device", "D", "detach", "take one out again, after a question", "Disks", _detach, Other,
        words="unplug detach", applies=_has_devices,
        needs=lambda _: "delete virtualmachineblockdeviceattachments",
    ),
)  # fmt: skip
