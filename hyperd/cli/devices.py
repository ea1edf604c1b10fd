"""``hv disk resize``, ``attach`` and ``detach``: disks that grow and come and go while machines run."""

from __future__ import annotations

import time

from hyperd.cli.options import client_of
from hyperd.cli.printing import emit, object_name
from hyperd.client import devices, kinds
from hyperd.client.health import Level, health
from hyperd.client.snapshots import MACHINE, resource
from hyperd.errors import BadRequest, Conflict

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse

    from hyperd.client.sync import Client


def resize(args: argparse.Namespace) -> int:
    """Have a disk grow, and wait until it has."""
    if len(args.more) != 1:
        raise BadRequest("Say how large it is to be: hv disk resize vd/data 20Gi, or +10Gi for so much more.")
    client, kind, name = _device(args)
    if kind != "VirtualDisk":
        raise BadRequest(f"{args.source}: only disks grow, vd/NAME.")
    disks, namespace = resource(kind), client.home.namespace
    size = devices.grown(client.get(disks, namespace, name), args.more[0])
    client.patch(disks, namespace, name, devices.growth(size))
    if args.no_wait:
        emit([f"{object_name(disks, name)} is to have {size}"])
        return 0
    from hyperd.cli.wait import until

    deadline = time.monotonic() + args.timeout
    words = f"of {size}"
    until(
        client, disks, namespace, name, lambda disk: disk is not None and devices.has(disk, size), words, deadline
    )
    emit([f"{object_name(disks, name)} has {size}"])
    return 0


def attach(args: argparse.Namespace) -> int:
    """Attach a disk or image to a machine, and wait until it is there."""
    client, kind, name = _device(args)
    namespace, machine = client.home.namespace, _machine(args, client)
    if not machine:
        raise BadRequest("Say to which machine: hv disk attach vd/data vm/web.")
    devices_kind = resource(kind)
    client.get(devices_kind, namespace if devices_kind.namespaced else None, name)
    found = client.get(resource(MACHINE), namespace, machine)
    attachments = resource(devices.ATTACHMENT)
    made = client.create(attachments, namespace, devices.attachment(namespace, kind, name, machine))
    word, own = object_name(devices_kind, name), made["metadata"]["name"]
    if args.no_wait or health(found).word not in ("Running", "Migrating"):
        later = "" if args.no_wait else f"; {machine} is {health(found).word}, and has it when it starts"
        emit([f"{object_name(attachments, own)} created{later}"])
        return 0
    from hyperd.cli.delete import until_gone
    from hyperd.cli.waiting import follow

    end = follow(client, attachments, namespace, own, until=frozenset(("Attached",)), timeout=args.timeout)
    state = health(end)
    if state.level is Level.BAD:
        client.delete(attachments, namespace, own)  # it would be Failed for good
        until_gone(client, attachments, namespace, own, time.monotonic() + args.timeout)
        raise Conflict(f"{kind} {name} cannot be attached to {machine}: {state.reason}")
    emit([f"{word} is attached to virtualmachine/{machine}"])
    return 0


def detach(args: argparse.Namespace) -> int:
    """Take a disk or image out of a machine, and wait until it is out."""
    from hyperd.cli.delete import until_gone

    client, kind, name = _device(args)
    namespace, attachments = client.home.namespace, resource(devices.ATTACHMENT)
    known = client.list(attachments, namespace)["items"]
    found = devices.attached_by(known, kind, name, _machine(args, client))
    own = found["metadata"]["name"]
    client.delete(attachments, namespace, own)
    if not args.no_wait:
        until_gone(client, attachments, namespace, own, time.monotonic() + args.timeout)
    machine = f"virtualmachine/{found['spec']['virtualMachineName']}"
    done = "is being detached" if args.no_wait else "is detached"
    emit([f"{object_name(resource(kind), name)} {done} from {machine}"])
    return 0


def _device(args: argparse.Namespace) -> tuple[Client, str, str]:
    """A client, and kind and name of a device; a name alone is a disk's. Raises BadRequest."""
    client = client_of(args)
    word, slash, name = args.source.rpartition("/")
    kind = kinds.resolve(word, client)[0].kind if slash else "VirtualDisk"
    if kind not in devices.DEVICES or not name:
        raise BadRequest(f"{args.source}: write vd/NAME, vi/NAME or cvi/NAME.")
    return client, kind, name


def _machine(args: argparse.Namespace, client: Client) -> str:
    """The machine that is named, if one is. Raises BadRequest."""
    if len(args.more) > 1:
        raise BadRequest("Say one machine: vm/NAME.")
    word, slash, name = (args.more[0] if args.more else "").rpartition("/")
    if slash and kinds.resolve(word, client)[0].kind != MACHINE:
        raise BadRequest(f"{args.more[0]}: write vm/NAME.")
    return name
