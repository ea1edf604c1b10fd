"""Machines and disks at one moment: taken, gone back to, copied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hyperd.client import ages, sanitize, snapshots
from hyperd.client.health import condition, health
from hyperd.client.shapes import mapping
from hyperd.errors import Conflict, NotFound
from tui.action import Parameters, Target, action
from tui.bulk import Deed, Tell, carry_out
from tui.desk import Desk
from tui.ending import ended
from tui.kind import Kind
from tui.shelf import Object
from tui.widgets.entries import Entry

_TAKEN = {"virtualmachines": snapshots.MACHINE, "virtualdisks": snapshots.DISK}
_COPIED = (*_TAKEN, "virtualmachinesnapshots", "virtualdisksnapshots")
_NOT_YET = ("Pending", "Starting", "Stopping", "Migrating", "Terminating")
_GUEST = ("yes", "no")
_NO_AGENT = "no agent: the guest cannot be held"


@dataclass(frozen=True)
class Take(Parameters):
    """``loose`` takes it where the guest cannot be held, too."""

    loose: bool = False


@dataclass(frozen=True)
class Name(Parameters):
    """What the new one is called, or to which snapshot a machine goes back."""

    name: str = ""


def _untakable(target: Target) -> str:
    word = health(target.obj).word
    if target.kind.plural == "virtualmachines":
        return f"is {word}, neither Running nor Stopped" if word in _NOT_YET else ""
    return "" if word == "Ready" else f"is {word}"


def _agent(target: Target) -> str:
    """What a snapshot of it can promise."""
    if target.kind.plural != "virtualmachines" or health(target.obj).word == "Stopped":
        return ""
    answers = (condition(target.obj, "AgentReady") or {}).get("status") == "True"
    return "its agent holds the guest" if answers else _NO_AGENT


def _take(desk: Desk, targets: Sequence[Target], given: Take) -> None:
    if len(targets) == 1:
        _ask_take(desk, targets[0], loose=given.loose)
    else:
        _take_all(desk, targets, "", "", loose=given.loose)


def _ask_take(desk: Desk, target: Target, *, loose: bool) -> None:
    from tui.screens.form import Form

    agent = _agent(target)
    entries = [
        Entry("name", "name", snapshots.timed(target.key.name), "What the snapshot is called.", needed=True),
        Entry(
            "held", "guest held", _GUEST[loose or agent == _NO_AGENT],
            "no takes it all the same, as after a power cut.", _GUEST, closed=True,
        ),
    ]  # fmt: skip
    if target.kind.plural == "virtualmachines":
        entries.append(
            Entry(
                "ip",
                "address kept",
                "yes",
                "Whether a restored machine has its address back.",
                _GUEST,
                closed=True,
            )
        )
    desk.push(
        Form(
            f"Snapshot of {desk.named(target.key)}",
            entries,
            lambda values: _take_all(
                desk,
                [target],
                values["name"],
                "Never" if values.get("ip") == "no" else "",
                loose=values["held"] == "no",
            ),
            note=agent,
        )
    )


def _take_all(desk: Desk, targets: Sequence[Target], name: str, keep_ip: str, *, loose: bool) -> None:
    """``name`` is that of one alone; others get names made of the time."""

    async def do(target: Target, tell: Tell) -> str:
        key, kind = target.key, _TAKEN[target.kind.plural]
        manifest = snapshots.take(
            kind, key.namespace, key.name, name or snapshots.timed(key.name),
            consistent=False if loose else None, keep_ip=keep_ip,
        )  # fmt: skip
        made = await _made(desk, key.home, manifest, tell, f"snapshot {manifest['metadata']['name']}")
        sure = "" if mapping(made.get("status")).get("consistent") else "; the guest was not held"
        return f"snapshot {made['metadata']['name']} of {key.name} is taken{sure}"

    carry_out(desk, Deed("snapshot", "", do, refuses=_untakable, foretell=_agent), targets)


async def _made(desk: Desk, home: str, manifest: Object, tell: Tell, what: str) -> Object:
    """Create it, and wait until there is nothing more to wait for. Raises Conflict where it failed."""
    client, resource = desk.fleet.connected(home), snapshots.resource(manifest["kind"])
    made = await client.create(resource, manifest["metadata"]["namespace"], manifest)
    tell(f"{what} asked for")
    end = await ended(client, resource, made, lambda how: tell(f"{what}: {how}"))
    state = health({"kind": resource.kind, **end})
    if state.word == "Failed" and not snapshots.results(end):
        reason = state.reason or snapshots.verdict(end)
        raise Conflict(f"{what} failed: {reason}")
    return {"kind": resource.kind, **end}


def _restore(desk: Desk, targets: Sequence[Target], given: Name) -> None:
    target = targets[0]
    if target.kind.plural == "virtualmachinesnapshots":
        desk.work(_try_restore(desk, target.key.home, target.obj), "restore", opens=True)
    else:
        desk.work(_choose(desk, target, given.name), "restore", opens=True)


async def _choose(desk: Desk, target: Target, name: str) -> None:
    """Which of the machine's snapshots. Raises NotFound where there is none."""
    from tui.screens.form import Form

    key = target.key
    resource = snapshots.resource(snapshots.OF_MACHINE)
    found, _, _ = await desk.fleet.connected(key.home).list(resource, key.namespace)
    known = [{"kind": resource.kind, **each} for each in found]
    fit = {
        each["metadata"]["name"]: each
        for each in sorted(known, key=lambda each: str(each["metadata"].get("creationTimestamp")), reverse=True)
        if snapshots.source(each)[1] == key.name and not snapshots.refusal(each)
    }
    if not fit or (name and name not in fit):
        raise NotFound(f"{key.name} has no snapshot {name or 'that is Ready'}; T takes one")
    if name:
        await _try_restore(desk, key.home, fit[name])
        return
    aged = "; ".join(f"{each} {_age(obj)} ago" for each, obj in fit.items())
    desk.push(
        Form(
            f"Put {desk.named(key)} back",
            [Entry("name", "snapshot", next(iter(fit)), f"Newest first: {aged}.", tuple(fit), closed=True)],
            lambda values: desk.work(_try_restore(desk, key.home, fit[values["name"]]), "restore", opens=True),
            note="What would become of each object is shown before anything is done.",
        )
    )  # fmt: skip


def _age(obj: Object) -> str:
    return ages.age(str(obj["metadata"].get("creationTimestamp") or ""))


async def _try_restore(desk: Desk, home: str, snapshot: Object) -> None:
    """Show what a restore would do, and do it after a yes."""
    from tui.screens.trial import Trial

    metadata = snapshot["metadata"]
    namespace, name = metadata["namespace"], metadata["name"]
    _, of = snapshots.source(snapshot)
    client = desk.fleet.connected(home)
    try:
        machine = await client.get(snapshots.resource(snapshots.MACHINE), namespace, of)
    except NotFound:
        raise NotFound(f"machine {of} is gone; K makes it again of {name}") from None
    trial = snapshots.restore(namespace, of, name, snapshots.DRY_RUN)
    tried = await _made(desk, home, trial, desk.say, f"trial of a restore of {of}")
    fine = health(tried).word == "Completed"
    lost = snapshots.lost(machine, snapshot, since=_age(snapshot))

    def go() -> None:
        desk.work(_restored(desk, home, namespace, of, name), "write")

    title = (
        f"Put {of} ({namespace}) back to {name}?" if fine else f"{of} ({namespace}) cannot be put back to {name}"
    )
    desk.push(Trial(title, lost if fine else snapshots.verdict(tried), tried, go if fine else None))


async def _restored(desk: Desk, home: str, namespace: str, of: str, name: str) -> None:
    manifest = snapshots.restore(namespace, of, name, snapshots.STRICT)
    _tell(desk, await _made(desk, home, manifest, desk.say, f"restore of {of}"), f"{of} is as it was in {name}")


def _tell(desk: Desk, op: Object, done: str) -> None:
    """How an operation ended: in a line, or object by object where something is wrong."""
    from tui.screens.trial import Trial

    if health(op).word == "Completed":
        desk.say(done)
    else:
        name = f"{op['metadata']['name']} failed"
        desk.push(Trial(sanitize.line(name), snapshots.verdict(op), op, None))
        desk.say(f"{name}: {snapshots.verdict(op)}", error=True)


def _clone(desk: Desk, targets: Sequence[Target], given: Name) -> None:
    target = targets[0]
    if given.name:
        desk.work(_copied(desk, target, given.name), "write")
        return
    from tui.screens.form import Form

    kind, of = snapshots.source(target.obj) if "snapshots" in target.kind.plural else ("", target.key.name)
    what = "disk" if kind == snapshots.DISK else "machine"
    desk.push(
        Form(
            f"A new {what} of {desk.named(target.key)}",
            [
                Entry(
                    "name",
                    "name",
                    f"{of}-2",
                    f"What the {what} is called; its disks and Secret follow.",
                    needed=True,
                )
            ],
            lambda values: desk.work(_copied(desk, target, values["name"]), "write"),
            note=_agent(target),
        )
    )


async def _copied(desk: Desk, target: Target, new: str) -> None:
    key, obj = target.key, target.obj
    if target.kind.plural == "virtualmachines":
        resource = snapshots.resource("VirtualMachineBlockDeviceAttachment")
        attachments, _, _ = await desk.fleet.connected(key.home).list(resource, key.namespace)
        renames = snapshots.renames(snapshots.parts_of_machine(obj, attachments), key.name, new)
        manifest = snapshots.clone(key.namespace, key.name, snapshots.STRICT, renames)
    elif target.kind.plural == "virtualmachinesnapshots":
        renames = snapshots.renames(snapshots.parts_of_snapshot(obj), snapshots.source(obj)[1], new)
        manifest = snapshots.copy(key.namespace, key.name, snapshots.STRICT, renames)
    else:
        await _made(desk, key.home, snapshots.disk_of(key.namespace, key.name, new), desk.say, f"disk {new}")
        desk.say(f"disk {new} is made of {key.name}")
        return
    made = await _made(desk, key.home, manifest, desk.say, f"copy of {key.name}")
    _tell(desk, made, f"machine {new} is made of {key.name}")


def _uncopyable(target: Target) -> str:
    if "snapshots" in target.kind.plural:
        return snapshots.refusal(target.obj)
    if target.kind.plural == "virtualdisks":
        return "is copied by its snapshots: T takes one"
    word = health(target.obj).word
    if word not in ("Running", "Stopped"):
        return f"is {word}, neither Running nor Stopped"
    return (
        "runs without an agent that could hold it; stop it, or take a snapshot"
        if "no agent" in _agent(target)
        else ""
    )


def _takes(kind: Kind) -> bool:
    return kind.plural in _TAKEN


def _restores(kind: Kind) -> bool:
    return kind.plural in ("virtualmachines", "virtualmachinesnapshots")


def _copies(kind: Kind) -> bool:
    return kind.plural in _COPIED


def _unrestorable(target: Target) -> str:
    return snapshots.refusal(target.obj) if "snapshots" in target.kind.plural else ""


ACTIONS = (
    action(
        "snapshot", "T", "snapshot", "take a snapshot of it", "Snapshots", _take, Take, words="snapshot",
        applies=_takes, refuses=_untakable, needs=lambda plural: f"create {plural[:-1]}snapshots", many=True,
    ),
    action(
        "restore", "R", "restore", "put a machine back, after a trial and a question",
        "Snapshots", _restore, Name, words="restore", applies=_restores, refuses=_unrestorable,
        needs=lambda _: "update virtualmachines",
    ),
    action(
        "clone", "K", "clone", "make another one of it", "Snapshots", _clone, Name, words="clone copy",
        applies=_copies, refuses=_uncopyable,
        needs=lambda plural: f"create {'virtualdisks' if 'disk' in plural else 'virtualmachines'}",
    ),
)  # fmt: skip
