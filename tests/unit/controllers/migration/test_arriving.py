"""A guest comes to a node only by the store's word, and what is made for it goes again by the same."""

from __future__ import annotations

import asyncio
import getpass
import socket
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from hyperd.controllers.context import Context
from hyperd.controllers.machine import holding
from hyperd.controllers.machine.fence import Fence
from hyperd.controllers.migration.arriving import Arrivals
from hyperd.controllers.migration.notes import Note
from hyperd.controllers.migration.sockets import folder_of
from hyperd.controllers.pod.placement import Pods
from hyperd.errors import NotFound, PermanentError, ServiceUnavailable, TemporaryError
from hyperd.hypervisor.state import DomainInfo, DomainState, Emulator
from hyperd.imagefile.handle import DiskFormat, FileHandle, Handle
from hyperd.network.connections import Connection
from hyperd.network.interface import Link
from hyperd.resources.all import POD, VIRTUAL_DISK, VIRTUAL_MACHINE, VIRTUAL_MACHINE_IP_ADDRESS_LEASE
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values import names
from hyperd.runtime.informer import Informer
from hyperd.store.interface import Item
from tests.parts import Part, part
from tests.unit.controllers.migration.test_asked import ASKED, DISK, OPERATION, VOLUME
from tests.unit.controllers.pod.machines import UID, machine


class Here:
    """The node "here", to which a guest of the node "there" comes; as all that arrivals speak with."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.domain: DomainInfo | None = None
        self.done: list[str] = []
        self.begun: list[Connection] = []
        self.machine: Part | None = machine()
        self.record(holding.Record(3, "there", "here", OPERATION))
        annotations = {names.SELECTED_NODE_ANNOTATION: "there"}
        self.disk: Part = {"metadata": {"name": "root", "uid": DISK, "annotations": annotations}}
        owners = [{"uid": UID, "kind": "VirtualMachine", "name": "web", "apiVersion": "v1", "controller": True}]
        self.pod: Part = {
            "metadata": {
                "name": ASKED["pod"],
                "uid": "p",
                "labels": {names.VM_UID_LABEL: UID},
                "ownerReferences": owners,
            },
            "spec": {"nodeName": "here"},
        }
        self.lease: Part = {"spec": {"virtualMachineIPAddressRef": {"namespace": "shop", "name": "web"}}}
        self.coming: set[str] = set()
        self.informers: dict[Kind, Informer] = {}
        self.node_name = "here"
        self.settings = SimpleNamespace(
            state_dir=folder,
            run_dir=folder / "run",
            hypervisor=SimpleNamespace(uri="test:///default", qemu_user=getpass.getuser()),
        )
        self.store = self.hypervisor = self.network = self.volumes = self.seeds = self.emulators = self
        self.again()

    def again(self) -> None:
        """The daemon begins anew."""
        given = cast(Context, self)
        self.arrivals = Arrivals(given, cast(Pods, self), Fence(given))

    def informer(self, kind: Kind) -> Informer:
        return self.informers.setdefault(kind, Informer(part(self), kind))

    def record(self, record: holding.Record, node: str = "there") -> None:
        assert self.machine is not None
        self.machine["status"] = {"nodeName": node, "holder": holding.shown(record)}

    async def ask(self, verb: str, **changed: Any) -> Object:
        return await self.arrivals.answer(UID, verb, {**ASKED, **changed})

    # As the store

    async def find(self, kind: Kind, namespace: str, name: str) -> Part:
        return {
            VIRTUAL_MACHINE: self.machine,
            VIRTUAL_DISK: self.disk if name == "root" else None,
            POD: self.pod if name == ASKED["pod"] else None,
            VIRTUAL_MACHINE_IP_ADDRESS_LEASE: self.lease if name == "ip-10-66-10-2" else None,
        }[kind]

    # As the hypervisor

    async def present(self) -> Emulator:
        return Emulator("8.0.1", "digest")

    async def info(self, uid: str) -> DomainInfo | None:
        return self.domain

    async def resume(self, uid: str) -> None:
        self.done.append("resume")

    async def destroy(self, uid: str) -> None:
        self.done.append("destroy")

    async def undefine(self, uid: str) -> None:
        self.done.append("undefine")
        self.domain = None

    # As Pods and network

    def receive(self, machine_: Part, pod: Part) -> None:
        self.done.append("receive")

    def lead(self, uid: str) -> None:
        self.done.append("lead")

    def release(self, machine_: Part) -> None:
        self.done.append("release")

    async def take_over(self, uid: str, connections: Sequence[Connection]) -> None:
        if not connections:
            raise TemporaryError("The kernel takes none.")
        self.begun = [*connections]

    async def connect(self, link: Link, *, starting: bool = False) -> None:
        self.done.append(f"link {link.hostname} {link.address}")

    async def disconnect(self, uid: str) -> None:
        self.done.append("unlink")

    # As volumes and seeds

    def provisioner(self, name: str) -> Here:
        if name != VOLUME["provisioner"]:
            raise PermanentError(f'No volumes are made by the provisioner "{name}".')
        return self

    async def create_blank(self, uid: str, size: int) -> Part:
        self.done.append(f"make {uid}")
        return SimpleNamespace(virtual_size=size)

    async def delete(self, uid: str) -> None:
        self.done.append(f"delete {uid}")

    async def detach(self, uid: str) -> None:
        self.done.append(f"detach {uid}")

    async def attach(self, uid: str) -> Handle:
        return FileHandle(self.folder / uid, DiskFormat.QCOW2)

    async def put(self, uid: str, content: bytes) -> None:
        self.done.append(f"seed {content.decode()}")

    async def remove(self, uid: str) -> None:
        self.done.append("no seed")


@pytest.fixture
def here(tmp_path: Path) -> Here:
    return Here(tmp_path)


def guest(state: DomainState, reason: str = "user") -> DomainInfo:
    return DomainInfo(UID, "shop", "web", 1, "", state, reason, True, epoch=3)


async def test_all_that_a_guest_needs_is_made(here: Here) -> None:
    said = await here.ask("prepare")
    made = ["receive", f"delete {DISK}", f"make {DISK}", "seed seed", "link web 10.66.10.2"]
    assert here.done == made
    assert said["pod"] == "p"
    assert said["sources"][0]["path"] == str(here.folder / DISK)
    assert said["qemu"] == "8.0.1"
    assert here.coming == {DISK}
    here.again()
    here.coming.clear()
    await here.arrivals.begin()
    assert here.coming == {DISK}, "it is known by the next daemon, too"


@pytest.mark.parametrize(
    "record",
    [
        holding.Record(3, "there"),
        holding.Record(3, "there", "elsewhere", OPERATION),
        holding.Record(3, "other", "here", OPERATION),
        holding.Record(3, "there", "here", DISK),
        holding.Record(4, "here"),
    ],
)
@pytest.mark.parametrize("verb", ["prepare", "cancel"])
async def test_nothing_is_done_for_who_is_not_on_its_way_here(
    here: Here, record: holding.Record, verb: str
) -> None:
    here.record(record)
    with pytest.raises(PermanentError, match="is not on its way from node there to node here"):
        await here.ask(verb)
    assert here.done == []


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"address": "10.66.10.3"}, "is leased to nobody in shop"),
        ({"pod": "another"}, "is not on node here"),
        ({"volumes": [{**VOLUME, "uid": OPERATION}]}, "is no more"),
        ({"volumes": [{**VOLUME, "name": "other"}]}, "is no more"),
        ({"operation": "../../x"}, "no uid"),
    ],
)
async def test_what_is_not_the_machines_is_not_touched(here: Here, changed: dict[str, Any], sentence: str) -> None:
    with pytest.raises(PermanentError, match=sentence):
        await here.ask("prepare", **changed)
    assert here.done == []
    assert here.coming == set()


async def test_a_volume_that_is_this_nodes_is_not_replaced(here: Here) -> None:
    here.disk["metadata"]["annotations"][names.SELECTED_NODE_ANNOTATION] = "here"
    with pytest.raises(PermanentError, match="it is not replaced"):
        await here.ask("prepare")
    assert here.done == []


async def test_a_disk_of_a_third_node_is_not_its_to_send(here: Here) -> None:
    here.disk["metadata"]["annotations"][names.SELECTED_NODE_ANNOTATION] = "third"
    with pytest.raises(PermanentError, match="is on node third, not on node there"):
        await here.ask("prepare")
    assert here.done == []


async def test_one_guest_comes_at_a_time(here: Here) -> None:
    """The one for which something was made first; others wait for it, and not for one another."""
    other = machine()
    other["metadata"].update(name="other", uid=DISK, resourceVersion="1")
    record = holding.Record(1, "third", "here", "2b1c54f0-2f7d-4c1e-8f52-0c6a3e1d2b4f")
    other["status"] = {"holder": holding.shown(record)}
    here.informers[VIRTUAL_MACHINE]._put(("shop", "other"), Item.of(other))
    note = Note(DISK, record.operation, {}, "shop", "other", "third")
    await here.arrivals._notes.put(note)
    said = await here.ask("prepare")
    assert said == {"waits": 'The guest of virtual machine "other" is on its way to node here.'}
    assert here.done == []
    await here.arrivals._notes.put(replace(note, went_on=True))
    assert "sources" in await here.ask("prepare")


async def test_a_pod_that_somebody_else_made_is_not_the_guests(here: Here) -> None:
    here.pod["metadata"]["ownerReferences"] = []
    with pytest.raises(PermanentError, match="is not on node here"):
        await here.ask("prepare")


async def test_an_address_of_another_namespace_is_not_had(here: Here) -> None:
    here.lease["spec"]["virtualMachineIPAddressRef"]["namespace"] = "bank"
    with pytest.raises(PermanentError, match="is leased to nobody in shop"):
        await here.ask("prepare")


@pytest.mark.parametrize(("uid", "verb"), [("../x", "look"), (UID + "\n", "look"), (UID, "destroy"), (UID, "")])
async def test_there_are_no_other_questions(here: Here, uid: str, verb: str) -> None:
    with pytest.raises(PermanentError):
        await here.arrivals.answer(uid, verb, ASKED)


async def test_a_guest_that_came_goes_on_once(here: Here) -> None:
    with pytest.raises(PermanentError, match="is on its way to node here"):
        await here.ask("go-on")
    await here.ask("prepare")
    with pytest.raises(PermanentError, match="has no guest of the machine"):
        await here.ask("go-on")
    here.domain = guest(DomainState.PAUSED, "migration")
    assert await here.ask("look") == {"state": "coming"}
    with pytest.raises(TemporaryError, match="as a whole"):
        await here.ask("go-on")
    here.domain = guest(DomainState.PAUSED)
    assert await here.ask("look") == {"state": "paused"}
    for changed in ({"operation": DISK}, {"from": "other"}):
        with pytest.raises(PermanentError):
            await here.ask("go-on", **changed)
    here.done.clear()
    begun = Connection(6, IPv4Address("10.1.0.1"), 1024, IPv4Address("10.66.10.2"), 80)
    await here.ask("go-on", connections=[begun.encode()])
    assert here.done == ["resume", "lead", "link web 10.66.10.2"]
    assert here.begun == [begun]
    here.done.clear()
    here.domain = guest(DomainState.RUNNING)
    await here.ask("go-on", connections=[])
    assert here.done == ["lead", "link web 10.66.10.2"]
    here.domain = guest(DomainState.PAUSED)
    here.again()
    assert await here.ask("look") == {"state": "went-on"}, "whoever has stopped it since"


async def test_one_that_was_not_let_run_any_more_is_let_run_by_who_asks_again(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The daemon was killed between the note that the guest goes on here, and that."""
    await here.ask("prepare")
    here.domain = guest(DomainState.PAUSED)
    first = here.resume

    async def resume(uid: str) -> None:
        raise SystemExit

    monkeypatch.setattr(here, "resume", resume)
    with pytest.raises(SystemExit):
        await here.ask("go-on")
    monkeypatch.setattr(here, "resume", first)
    here.again()
    here.done.clear()
    assert await here.ask("look") == {"state": "paused"}
    await here.ask("go-on")
    assert here.done[0] == "resume"
    assert await here.ask("look") == {"state": "went-on"}


async def test_it_is_known_for_good_that_a_guest_went_on(here: Here, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before it runs: its disks here are the newer ones from then on, also where it ends and the daemons do."""
    await here.ask("prepare")
    here.domain = guest(DomainState.PAUSED)

    async def resume(uid: str) -> None:
        raise SystemExit  # killed in between

    monkeypatch.setattr(here, "resume", resume)
    with pytest.raises(SystemExit):
        await here.ask("go-on")
    here.again()
    assert await here.ask("look") == {"state": "paused"}, "nobody has let it run yet"
    here.domain = None
    here.again()
    here.done.clear()
    assert await here.ask("look") == {"state": "went-on"}
    for verb in ("cancel", "prepare"):
        with pytest.raises(PermanentError, match="went on"):
            await here.ask(verb)
    assert here.done == []


async def test_an_api_server_that_is_away_keeps_no_guest_stopped(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    await here.ask("prepare")
    here.domain = guest(DomainState.PAUSED)

    async def find(*_: object) -> None:
        raise ServiceUnavailable("The API server is away.")

    monkeypatch.setattr(here, "find", find)
    await here.ask("go-on")
    assert "resume" in here.done
    with pytest.raises(ServiceUnavailable):
        await here.ask("cancel")


@pytest.mark.parametrize("by", ["cancel", "record"])
async def test_what_was_made_goes_where_the_guest_stays_away(here: Here, by: str) -> None:
    await here.ask("prepare")
    here.domain = guest(DomainState.PAUSED)
    here.done.clear()
    if by == "cancel":
        await here.ask("cancel")
    else:
        here.record(holding.Record(3, "there"))
        assert not await here.arrivals.attend(cast(Any, here.machine))
    assert here.done == ["destroy", "undefine", "release", "unlink", f"delete {DISK}", "no seed"]
    assert here.coming == set()
    assert not folder_of(cast(Context, here), OPERATION).exists()
    with pytest.raises(TemporaryError, match="is on its way to node here"):
        await here.arrivals.door(UID, "memory")


async def test_a_volume_that_both_nodes_reach_is_neither_made_nor_removed(here: Here) -> None:
    volumes = [{**ASKED["volumes"][0], "shared": True}]
    said = await here.ask("prepare", volumes=volumes)
    assert said["sources"][0]["path"] == str(here.folder / DISK)
    assert not {f"make {DISK}", f"delete {DISK}"} & set(here.done)
    await here.ask("cancel")
    assert f"detach {DISK}" in here.done
    assert f"delete {DISK}" not in here.done


async def test_what_was_made_stays_with_a_guest_that_came(here: Here) -> None:
    await here.ask("prepare")
    here.domain = guest(DomainState.RUNNING)
    here.done.clear()
    assert await here.arrivals.attend(cast(Any, here.machine)), "it is still on its way"
    here.record(holding.Record(4, "here"), node="here")
    assert not await here.arrivals.attend(cast(Any, here.machine))
    assert here.done == ["release"]
    assert here.coming == set()


async def test_a_line_ends_at_what_listens_for_it_and_nowhere_else(
    here: Here, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(NotFound, match="There is no line"):
        await here.arrivals.door(UID, "../libvirt")
    with pytest.raises(TemporaryError):
        await here.arrivals.door(UID, "memory")
    await here.ask("prepare")
    with pytest.raises(TemporaryError, match="does not listen yet"):
        await here.arrivals.door(UID, "memory")
    folder = folder_of(cast(Context, here), OPERATION)
    with socket.socket(socket.AF_UNIX) as listening:
        monkeypatch.chdir(folder)  # the whole path may be too long for a socket
        listening.bind("real.sock")
        listening.listen(1)
        await asyncio.to_thread((folder / "memory.sock").symlink_to, folder / "real.sock")
        with pytest.raises(TemporaryError):
            await here.arrivals.door(UID, "memory")
        await asyncio.to_thread((folder / "memory.sock").unlink)
        await asyncio.to_thread((folder / "real.sock").rename, folder / "memory.sock")
        near, passes = await here.arrivals.door(UID, "memory")
        near.close()
        assert passes(b"anything") == b"anything"
    await asyncio.to_thread((folder / "disks.sock").write_text, "")
    with pytest.raises(TemporaryError, match="something else"):
        await here.arrivals.door(UID, "disks")
