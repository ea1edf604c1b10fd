"""The rules speak the same in a cluster as in the embedded home: verdict, sentence, causes, warnings, defaults."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from hyperd.admission.dispatch import RULES, reviewer
from hyperd.controllers.bootstrap import bootstrap
from hyperd.errors import HyperdError
from hyperd.resources.all import KINDS, NAMESPACE, VIRTUAL_MACHINE
from hyperd.resources.schema.kind import Kind, Object
from hyperd.settings import Settings
from hyperd.store.embedded.store import EmbeddedStore
from hyperd.store.interface import Item, PatchType, Store, User, Write
from hyperd.store.kubernetes.store import KubernetesStore
from tests.cluster.controlplane.plane import document
from tests.cluster.installed import conftest
from tests.cluster.installed.conftest import Installed
from tests.parts import Part
from tests.unit.admission.world import changed, kind_of, make

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
WHERE = conftest.NAMESPACE
DENIED = 'admission webhook "validation.virtualization.deckhouse.io" denied the request: '
DEFAULT = {"virtualmachineclass.virtualization.deckhouse.io/is-default-class": "true"}
URL = {"type": "HTTP", "http": {"url": "https://example.com/a.qcow2"}}
OTHER = {"type": "HTTP", "http": {"url": "https://example.com/b.qcow2"}}
DISK = {"kind": "VirtualDisk", "name": "root"}


@dataclass(frozen=True)
class Outcome:
    """What became of a write, as a client sees it."""

    code: int
    message: str = ""
    causes: frozenset[tuple[str, str, str]] = frozenset()
    warnings: frozenset[str] = frozenset()
    spec: Any = None
    finalizers: tuple[str, ...] = ()


@dataclass
class Home:
    """A home of objects: ``store`` writes as a user, ``system`` as whoever keeps the machinery going."""

    store: Store
    system: Store
    user: User
    made: list[tuple[Kind, str, str]] = field(default_factory=list)

    async def prepare(self, obj: Object) -> Object:
        """Have ``obj`` there, its status too."""
        kind, namespace = kind_of(obj), obj["metadata"].get("namespace", "")
        item = await self.system.create(kind, namespace, copy.deepcopy(obj))
        self.made.append((kind, namespace, item.name))
        if "status" in obj:
            body = {**item.object(), "status": obj["status"]}
            item = await self.system.update(kind, namespace, item.name, body, subresource="status")
        found: Object = item.object()
        return found

    async def create(self, obj: Object, *, dry_run: bool = False) -> Outcome:
        kind, namespace = kind_of(obj), obj["metadata"].get("namespace", "")
        if not dry_run:
            self.made.append((kind, namespace, obj["metadata"]["name"]))
        return await self._outcome(
            lambda write: self.store.create(kind, namespace, copy.deepcopy(obj), write=write), dry_run
        )

    async def update(self, obj: Object) -> Outcome:
        kind, meta = kind_of(obj), obj["metadata"]
        namespace = meta.get("namespace", "")
        return await self._outcome(
            lambda write: self.store.update(kind, namespace, meta["name"], copy.deepcopy(obj), write=write)
        )

    async def _outcome(self, act: Callable[[Write], Any], dry_run: bool = False) -> Outcome:
        warnings: list[str] = []
        write = Write(user=self.user, dry_run=dry_run, warn=warnings.append)
        try:
            item: Item = await act(write)
        except HyperdError as err:
            causes = frozenset((cause.field, cause.reason, cause.message) for cause in err.causes)
            return Outcome(err.code, err.message.removeprefix(DENIED), causes, told(warnings))
        obj = item.object()
        return Outcome(
            200,
            warnings=told(warnings),
            spec=obj.get("spec"),
            finalizers=tuple(obj["metadata"].get("finalizers", ())),
        )

    async def clear(self) -> None:
        for kind, namespace, name in self.made:
            if await self.system.find(kind, namespace, name) is not None:
                free = {"metadata": {"finalizers": None}}
                await self.system.patch(kind, namespace, name, PatchType.MERGE, free)
            if await self.system.find(kind, namespace, name) is not None:
                await self.system.delete(kind, namespace, name)


def told(warnings: Sequence[str]) -> frozenset[str]:
    """Of deprecated versions the embedded home warns in its API, above the store."""
    return frozenset(text for text in warnings if " is deprecated" not in text)


async def _may(user: User, verb: str, kind: Kind, namespace: str, name: str) -> bool:
    """Edith, who is the user of the cluster's home, may edit everything."""
    return user.name == "edith"


@pytest.fixture
async def homes(
    store: KubernetesStore, admin_store: KubernetesStore, tmp_path: Path
) -> AsyncIterator[tuple[Home, Home]]:
    """(embedded, cluster), each with what a daemon makes at first."""
    settings = Settings()
    admit = reviewer(settings, may=_may)
    embedded = EmbeddedStore(tmp_path / "store.db", settings=settings.store, admit=admit, kinds=KINDS)
    await embedded.start()
    user = User("edith", ("system:authenticated",))
    pair = Home(embedded, embedded, user), Home(store, admin_store, user)
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": WHERE}}
    await embedded.create(NAMESPACE, "", space)
    await bootstrap(embedded, settings)
    await bootstrap(admin_store, settings)
    yield pair
    await pair[1].clear()
    await embedded.close()


def machine(name: str = "web", **spec: Any) -> Object:
    whole = {"cpu": {"cores": 1}, "memory": {"size": "1Gi"}, "blockDeviceRefs": [DISK], **spec}
    return make("VirtualMachine", name, namespace=WHERE, spec=whole)


def disk(size: str | None = "10Gi", **parts: Any) -> Object:
    claim = {} if size is None else {"size": size}
    return make("VirtualDisk", "root", namespace=WHERE, spec={"persistentVolumeClaim": claim}, **parts)


def image(kind: str = "VirtualImage", name: str = "debian", **parts: Any) -> Object:
    return make(kind, name, namespace=WHERE, spec={"dataSource": copy.deepcopy(URL), **EXTRA[kind]}, **parts)


EXTRA: dict[str, Object] = {"VirtualImage": {"storage": "ContainerRegistry"}, "ClusterVirtualImage": {}}


def class_(name: str, *policies: Object, **parts: Any) -> Object:
    return make(
        "VirtualMachineClass", name, spec={"cpu": {"type": "Host"}, "sizingPolicies": list(policies)}, **parts
    )


def policy(low: int, high: int, **more: Any) -> Object:
    return {"cores": {"min": low, "max": high}, **more}


def operation(name: str, kind: str = "Stop") -> Object:
    return make("VirtualMachineOperation", name, namespace=WHERE, spec={"type": kind, "virtualMachineName": "web"})


def attachment(name: str) -> Object:
    spec = {"virtualMachineName": "web", "blockDeviceRef": {"kind": "VirtualDisk", "name": "data"}}
    return make("VirtualMachineBlockDeviceAttachment", name, namespace=WHERE, spec=spec)


def copied(name: str) -> Object:
    spec = {
        "type": "CreateVirtualMachine",
        "virtualMachineSnapshotName": "web",
        "createVirtualMachine": {"mode": "Strict", "customization": {"nameSuffix": "-two"}},
    }
    return make("VirtualMachineSnapshotOperation", name, namespace=WHERE, spec=spec)


def address(static: str) -> Object:
    return make("VirtualMachineIPAddress", "web", namespace=WHERE, spec={"type": "Static", "staticIP": static})


def hardware_address(wanted: str) -> Object:
    return make("VirtualMachineMACAddress", "web", namespace=WHERE, spec={"address": wanted})


def pool(name: str = "web", **parts: Any) -> Object:
    template = {
        "spec": {**machine()["spec"], "virtualMachineClassName": "generic", "liveMigrationPolicy": "PreferSafe"}
    }
    spec = {
        "replicas": 1,
        "scaleDownPolicy": "NewestFirst",
        "virtualMachineTemplate": template,
        "virtualDiskTemplates": [{"name": DISK["name"], "spec": {"persistentVolumeClaim": {"size": "1Gi"}}}],
        **parts,
    }
    return make("VirtualMachinePool", name, namespace=WHERE, spec=spec)


def secret(type_: str, **data: str) -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "provisioning", "namespace": WHERE},
        "type": f"provisioning.virtualization.deckhouse.io/{type_}",
        "data": data,
    }


@dataclass(frozen=True)
class Case:
    """A write, what is there before it, and a word that its answer has."""

    wanted: Object
    says: str
    there: tuple[Object, ...] = ()
    change: Object | None = None
    """Fields of the spec that ``wanted``, which is there then, is changed in."""


READY = {"phase": "Ready"}
CASES: dict[str, Case] = {
    "image-name": Case(image(name="a.b"), 'must not contain "."'),
    "image-source": Case(image(status=READY), "already been provisioned", change={"dataSource": OTHER}),
    "image-class": Case(
        changed(image(), persistentVolumeClaim={"storageClassName": "gone"}, storage="PersistentVolumeClaim"),
        'StorageClass "gone" does not exist',
    ),
    "cluster-image": Case(
        image("ClusterVirtualImage", status=READY), "is in a Ready state", change={"dataSource": OTHER}
    ),
    "disk-blank": Case(disk(None), "a blank disk needs a size"),
    "disk-shrinks": Case(disk(), "a disk cannot shrink", change={"persistentVolumeClaim": {"size": "1Gi"}}),
    "machine-defaults": Case(machine(), ""),
    "machine-class": Case(machine(virtualMachineClassName="gone"), 'VirtualMachineClass "gone" does not exist'),
    "machine-class-waited-for": Case(
        machine(virtualMachineClassName="gone", cpu={"cores": 1, "coreFraction": "10%"}), "waits for it"
    ),
    "machine-size": Case(
        machine(virtualMachineClassName="generic", cpu={"cores": 2, "coreFraction": "7%"}),
        "spec.cpu.coreFraction is 7%, but must be 5%, 10%",
    ),
    "machine-devices": Case(machine(blockDeviceRefs=[DISK, DISK]), "Duplicate value"),
    "machine-networks": Case(
        machine(networks=[{"type": "Network", "name": "lan"}, {"type": "Main"}]), "Main must be the first"
    ),
    "machine-name": Case(machine("w" * 64), "no more than 63"),
    "machine-keys": Case(
        make(
            "VirtualMachine",
            "web",
            namespace=WHERE,
            spec=machine()["spec"],
            metadata={"labels": {"virtualization.deckhouse.io/mine": "1"}},
        ),
        "reserved for the system",
    ),
    "machine-user-data": Case(
        machine(provisioning={"type": "UserData", "userData": "hello"}), "no header that cloud-init knows"
    ),
    "class-overlap": Case(class_("small", policy(1, 4), policy(4, 8)), "size policy cpu crosses"),
    "class-default": Case(class_("second", metadata={"annotations": DEFAULT}), "is the default already"),
    "address": Case(address("192.0.2.7"), "must be in 10.66.10.0/24"),
    "hardware-address": Case(hardware_address("01:00:5e:00:00:01"), "no card can have it"),
    "pool": Case(pool(), ""),
    "pool-name": Case(pool("w" * 58), "no more than 57"),
    "pool-disk": Case(
        pool(virtualDiskTemplates=[{"name": DISK["name"], "spec": {"persistentVolumeClaim": {}}}]),
        "a blank disk needs a size",
    ),
    "operation": Case(operation("second"), "should finish first", there=(operation("first"),)),
    "attachment": Case(attachment("second"), "is attached by", there=(attachment("first"),)),
    "machine-of-snapshot": Case(copied("two"), ""),
    "secret-warning": Case(secret("cloud-init"), "needs the key userData"),
    "secret-oddity": Case(secret("cloud-init", userData="aGVsbG8="), "no header that cloud-init knows"),
}


def untried() -> Iterator[Kind]:
    """Kinds with rules that no case is about. ConfigMaps and Services are Kubernetes' own to judge."""
    tried = {kind_of(case.wanted) for case in CASES.values()}
    return (kind for kind in RULES if kind not in tried and kind.kind not in ("ConfigMap", "Service"))


def test_every_kind_with_rules_is_tried() -> None:
    assert list(untried()) == []


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
async def test_a_rule_says_the_same_in_both_homes(homes: tuple[Home, Home], case: Case) -> None:
    outcomes = []
    for home in homes:
        for obj in case.there:
            await home.prepare(obj)
        if case.change is None:
            outcomes.append(await home.create(case.wanted))
        else:
            outcomes.append(await home.update(changed(await home.prepare(case.wanted), **case.change)))
    embedded, cluster = outcomes
    assert cluster == embedded
    assert case.says in cluster.message + " ".join(cluster.warnings)


async def test_defaults_come_from_the_webhook(homes: tuple[Home, Home]) -> None:
    outcome = await homes[1].create(machine())
    assert outcome.spec["virtualMachineClassName"] == "generic"
    assert outcome.spec["cpu"]["coreFraction"] == "100%"
    assert outcome.finalizers == ("virtualization.deckhouse.io/vm-cleanup",)


async def test_a_rehearsal_is_judged_and_leaves_nothing(homes: tuple[Home, Home]) -> None:
    for home in homes:
        outcome = await home.create(machine("rehearsed"), dry_run=True)
        assert outcome.spec["virtualMachineClassName"] == "generic"
        refused = await home.create(machine("rehearsed", blockDeviceRefs=[DISK, DISK]), dry_run=True)
        assert refused.code == 422
        assert await home.system.find(VIRTUAL_MACHINE, WHERE, "rehearsed") is None


async def test_a_machine_that_is_being_deleted_is_judged_as_ever(homes: tuple[Home, Home]) -> None:
    outcomes = []
    for home in homes:
        made = await home.prepare(machine())
        await home.system.delete(VIRTUAL_MACHINE, WHERE, "web")
        going: Part = (await home.system.get(VIRTUAL_MACHINE, WHERE, "web")).object()
        assert going["metadata"]["uid"] == made["metadata"]["uid"]
        outcomes.append(await home.update(changed(going, blockDeviceRefs=[DISK, DISK])))
        going["metadata"]["labels"] = {"a": "b"}
        assert (await home.update(changed(going, terminationGracePeriodSeconds=1))).code == 200
    assert outcomes[0] == outcomes[1]
    assert "Duplicate value" in outcomes[1].message


async def test_hyperds_own_account_may_set_keys_of_the_system(
    homes: tuple[Home, Home], installed: Installed
) -> None:
    await homes[1].prepare(machine())
    own = KubernetesStore(await asyncio.to_thread(installed.account_kubeconfig))
    await own.start()
    try:
        patch = {"metadata": {"annotations": {"virtualization.deckhouse.io/vm-restart-requested": "true"}}}
        await own.patch(VIRTUAL_MACHINE, WHERE, "web", PatchType.MERGE, patch)
        other = {"metadata": {"annotations": {"virtualization.deckhouse.io/mine": "true"}}}
        with pytest.raises(HyperdError, match="reserved for the system"):
            await homes[1].store.patch(VIRTUAL_MACHINE, WHERE, "web", PatchType.MERGE, other)
    finally:
        await own.close()


async def test_what_reaches_further_than_its_user_may_is_denied(
    homes: tuple[Home, Home], installed: Installed
) -> None:
    """Whose right the webhook asks the API server about."""
    kubeconfig = await asyncio.to_thread(installed.person, "carl", "hyperd:cluster-editor")
    pull = {"image": "registry.example.com/os:1", "imagePullSecret": {"name": "theirs", "namespace": "foreign"}}
    source = {"type": "ContainerImage", "containerImage": pull}
    wanted = make("ClusterVirtualImage", "shared", spec={"dataSource": source})
    carl = User("carl", ("system:authenticated",))
    store = KubernetesStore(kubeconfig)
    await store.start()
    try:
        embedded = await Home(homes[0].store, homes[0].system, carl).create(wanted)
        assert await Home(store, homes[1].system, carl).create(wanted) == embedded
    finally:
        await store.close()
    assert embedded.code == 403
    assert 'User "carl" cannot get resource "secrets"' in embedded.message
    assert (await homes[1].create(wanted)).code == 200, "edith may read Secrets"


@pytest.mark.parametrize("server_side", [False, True], ids=["client", "server"])
async def test_applying_twice_changes_nothing(
    homes: tuple[Home, Home], installed: Installed, editor: Path, server_side: bool
) -> None:
    """What the webhook filled in is nobody's to take away again, and no change."""
    homes[1].made.append((VIRTUAL_MACHINE, WHERE, "web"))
    text = yaml.safe_dump(machine())
    args = ["apply", *(["--server-side"] if server_side else []), "-f", "-", "-o", "json"]
    first, second = [
        document(await asyncio.to_thread(installed.kubectl, editor, *args, stdin=text)) for _ in range(2)
    ]
    assert first["spec"]["virtualMachineClassName"] == second["spec"]["virtualMachineClassName"] == "generic"
    assert first["metadata"]["resourceVersion"] == second["metadata"]["resourceVersion"]


def test_kubectl_shows_causes_and_warnings(installed: Installed, editor: Path) -> None:
    text = yaml.safe_dump(class_("small", policy(1, 4), policy(4, 8)))
    said = installed.kubectl(editor, "create", "-f", "-", stdin=text, rc=1)
    assert 'The VirtualMachineClass "small" is invalid: spec.sizingPolicies[1].cores: Invalid value' in said
    text = yaml.safe_dump(secret("cloud-init"))
    said = installed.kubectl(editor, "create", "--dry-run=server", "-f", "-", stdin=text)
    assert "secret/provisioning created (server dry run)" in said
    assert "Warning: data: a Secret of type" in said
