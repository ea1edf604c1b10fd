"""An eviction of a machine's Pod: who is told what, what is marked, and under which address it is asked about."""

from __future__ import annotations

import copy
from typing import Any

import orjson
import pytest

from hyperd.api.serving.evictions import Evictions
from hyperd.api.serving.registration import PLACES, Registration
from hyperd.errors import BadRequest
from hyperd.install import manifests
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.names import POD_EVICTED_ANNOTATION, VM_POD_NAME_LABEL, VM_UID_LABEL
from hyperd.store.interface import PatchType
from tests.parts import Part, part
from tests.unit.admission.world import World

UID = "6f7d3a52-7c5e-4b3c-9a58-9d6c1a6b7c8d"
POD = "virt-launcher-web-abcde"
MOVABLE = {"type": "Migratable", "status": "True", "reason": "VirtualMachineMigratable", "message": ""}
STUCK = {**MOVABLE, "status": "False", "reason": "VirtualMachineNonMigratable", "message": "It has a device."}


class Cluster(World):
    """What is there, and what was written to it."""

    def __init__(self, *objects: Object) -> None:
        super().__init__(list(objects))
        self.written: list[tuple[str, Part]] = []

    async def patch(self, kind: Kind, namespace: str, name: str, _: PatchType, patch: Any) -> None:
        self.written.append((f"{kind.plural}/{namespace}/{name}", patch))


def machine(phase: str = "Running", active: str = POD, condition: Part = MOVABLE) -> Part:
    return {
        "kind": "VirtualMachine",
        "metadata": {"namespace": "shop", "name": "web", "uid": UID},
        "status": {
            "phase": phase,
            "virtualMachinePods": [{"name": active, "active": True}],
            "conditions": [condition],
        },
    }


def pod(*, annotations: Part | None = None, owner: str = UID, phase: str = "Running", **meta: Any) -> Part:
    labels = {VM_UID_LABEL: UID, VM_POD_NAME_LABEL: "web"}
    known = {"namespace": "shop", "name": POD, "uid": "p-1", "labels": labels, "annotations": annotations or {}}
    return {
        "kind": "Pod",
        "metadata": {**known, "ownerReferences": [{"uid": owner}], **meta},
        "status": {"phase": phase},
    }


def review(**more: Any) -> Part:
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"namespace": "shop", "name": POD}}
    request = {
        "uid": "u-1",
        "kind": {"group": "policy", "version": "v1", "kind": "Eviction"},
        "resource": {"group": "", "version": "v1", "resource": "pods"},
        "subResource": "eviction",
        "namespace": "shop",
        "name": POD,
        "operation": "CREATE",
        "userInfo": {"username": "admin"},
        "object": eviction,
        **more,
    }
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}


async def asked(cluster: Cluster, **more: Any) -> Part:
    response = part((await Evictions(part(cluster)).judge(review(**more)))["response"])
    assert response["uid"] == "u-1"
    return response


async def test_the_pod_of_a_guest_stays_and_is_marked() -> None:
    cluster = Cluster(machine(), pod())
    said = await asked(cluster)
    assert not said["allowed"]
    assert (said["status"]["code"], said["status"]["reason"]) == (429, "TooManyRequests")
    assert said["status"]["message"] == 'Eviction triggered evacuation of VMI "shop/web"'
    ((where, patch),) = cluster.written
    assert where == f"pods/shop/{POD}"
    assert patch == {"metadata": {"uid": "p-1", "annotations": {POD_EVICTED_ANNOTATION: "true"}}}


async def test_one_that_is_marked_is_told_of_and_not_written_again() -> None:
    cluster = Cluster(machine(), pod(annotations={POD_EVICTED_ANNOTATION: "true"}))
    message = (await asked(cluster))["status"]["message"]
    assert message == 'Evacuation in progress: Eviction triggered evacuation of VMI "shop/web"'
    assert cluster.written == []


async def test_a_guest_that_cannot_be_moved_is_not_ended_and_why_is_said() -> None:
    said = await asked(Cluster(machine(condition=STUCK), pod()))
    assert said["status"]["code"] == 429
    assert said["status"]["message"].endswith("It cannot be migrated: It has a device. Stop it to free the node.")


@pytest.mark.parametrize(
    "more", [{"dryRun": True}, {"object": {"deleteOptions": {"dryRun": ["All"]}}}], ids=["review", "options"]
)
async def test_a_rehearsal_is_told_the_same_and_changes_nothing(more: Part) -> None:
    cluster = Cluster(machine(), pod())
    said = await asked(cluster, **more)
    assert said["status"]["message"] == 'Eviction triggered evacuation of VMI "shop/web"'
    assert cluster.written == []


@pytest.mark.parametrize(
    ("there", "message"),
    [
        ((machine("Migrating", active="another"), pod()), "Eviction request for target Pod"),
        ((machine("Stopping"), pod()), 'VMI "shop/web" is being stopped'),
    ],
)
async def test_neither_pod_goes_while_the_guest_is_between_two(there: tuple[Part, Part], message: str) -> None:
    cluster = Cluster(*there)
    said = await asked(cluster)
    assert (said["status"]["code"], said["status"]["message"]) == (429, message)
    assert cluster.written == []


@pytest.mark.parametrize(
    "there",
    [
        (),
        (machine(),),
        (pod(),),
        (machine(), pod(owner="another")),
        (machine(), pod(labels={"app": "web"})),
        (machine(), pod(phase="Succeeded")),
        (machine(), pod(deletionTimestamp="2026-01-01T00:00:00Z")),
        (machine("Pending"), pod()),
        (machine("Stopped"), pod()),
    ],
    ids=["nothing", "gone", "orphan", "forged", "of others", "finished", "ending", "waits", "off"],
)
async def test_what_has_no_guest_may_go(there: tuple[Part, ...]) -> None:
    cluster = Cluster(*copy.deepcopy(there))
    assert (await asked(cluster))["allowed"]
    assert cluster.written == []


async def test_what_is_no_eviction_is_no_matter_of_ours() -> None:
    assert (await asked(Cluster(machine(), pod()), subResource="exec"))["allowed"]
    with pytest.raises(BadRequest):
        await Evictions(part(Cluster())).judge({"kind": "AdmissionReview"})


def test_it_is_asked_under_an_address_that_follows_from_the_key_alone() -> None:
    one, two, other = (Evictions(part(World())) for _ in range(3))
    assert not one.owns("")
    assert not one.owns("/evict/")
    one.use(b"key")
    two.use(b"key")
    other.use(b"another key")
    assert one.path == two.path != other.path
    assert one.owns(two.path)
    for path in ("/evict", "/evict/", one.path[:-1], other.path, "/evict/\udcff\ud800", "/evict/é"):
        assert not one.owns(path)


class ApiServer:
    """Keeps what is registered."""

    def __init__(self) -> None:
        validating = manifests.webhooks()[1]
        self.kept = {path: part({}) for path in PLACES.values()}
        self.path = next(path for path in PLACES.values() if "validating" in path)
        self.kept[self.path] = validating
        self.writes = 0

    async def request(self, method: str, path: str, *, body: bytes = b"") -> Any:
        if method == "PUT":
            self.writes += 1
            self.kept[path] = orjson.loads(body)
        return copy.deepcopy(self.kept[path])

    def hook(self) -> Part:
        hooks: list[Part] = self.kept[self.path]["webhooks"]
        return next(hook for hook in hooks if hook["name"].startswith("evictions."))


async def test_the_address_is_registered_and_comes_back_when_the_manifests_are_applied_again() -> None:
    server = ApiServer()
    registration = Registration(part(server))
    await registration.ensure(b"ca", "/evict/secret")
    assert server.hook()["clientConfig"]["service"]["path"] == "/evict/secret"
    assert {hook["clientConfig"]["service"]["path"] for hook in server.kept[server.path]["webhooks"]} == {
        "/validate",
        "/evict/secret",
    }
    assert server.writes == 1
    await registration.ensure(b"ca", "/evict/secret")
    assert server.writes == 1
    server.hook()["clientConfig"]["service"]["path"] = "/evict"
    await registration.ensure(b"ca", "/evict/secret")
    assert server.hook()["clientConfig"]["service"]["path"] == "/evict/secret"


def test_no_eviction_waits_for_hyperd() -> None:
    """Others' Pods are nothing to it, and a disruption budget keeps machines' while it is away."""
    hook = ApiServer().hook()
    assert (hook["failurePolicy"], hook["sideEffects"]) == ("Ignore", "NoneOnDryRun")
    assert [rule["resources"] for rule in hook["rules"]] == [["pods/eviction"]]
    assert hook["matchConditions"][0]["expression"] == "request.name.startsWith('virt-launcher-')"
