"""One manifest, one object: every kind, by name and by ``generateName``, for real and as a rehearsal, with zeros.

Both homes must make the same of it, whoever completes it and whenever it gets its name.
"""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hyperd.admission.dispatch import FINALIZERS, reviewer
from hyperd.controllers.bootstrap import bootstrap
from hyperd.errors import HyperdError
from hyperd.resources.all import KINDS, NAMESPACE
from hyperd.resources.schema.kind import Kind, Object
from hyperd.settings import Settings
from hyperd.store.embedded.store import EmbeddedStore, opened_store
from hyperd.store.interface import User, Write
from hyperd.store.kubernetes.store import KubernetesStore
from tests.cluster.installed.test_admission import DENIED, WHERE, Home, told
from tests.unit.admission.world import kind_of
from tests.unit.api.test_zero_values import zero
from tests.unit.resources.samples import examples

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
PREFIX = "made-"


@dataclass(frozen=True)
class Made:
    """What a home made of a manifest; of a generated name only where it comes from."""

    code: int
    message: str = ""
    causes: frozenset[tuple[str, str, str]] = frozenset()
    warnings: frozenset[str] = frozenset()
    metadata: Any = None
    spec: Any = None
    status: Any = None


async def everybody_may(user: User, verb: str, kind: Kind, namespace: str, name: str) -> bool:
    """The administrator of a cluster may do everything as well."""
    return True


@pytest.fixture
async def homes(admin_store: KubernetesStore, tmp_path: Path) -> AsyncIterator[tuple[Home, Home]]:
    """(embedded, cluster), each with what a daemon makes at first, for who may do everything."""
    settings = Settings()
    admit = reviewer(settings, may=everybody_may)
    embedded = EmbeddedStore(tmp_path / "store.db", settings=settings.store, admit=admit, kinds=KINDS)
    user = User("kubernetes-admin", ("system:masters", "system:authenticated"))
    async with opened_store(embedded):
        pair = Home(embedded, embedded, user), Home(admin_store, admin_store, user)
        await embedded.create(
            NAMESPACE, "", {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": WHERE}}
        )
        await bootstrap(embedded, settings)
        await bootstrap(admin_store, settings)
        yield pair
        await pair[1].clear()


async def make(home: Home, obj: Object, *, dry_run: bool) -> Made:
    kind, meta = kind_of(obj), obj["metadata"]
    warnings: list[str] = []
    write = Write(user=home.user, dry_run=dry_run, warn=warnings.append)
    try:
        item = await home.store.create(kind, meta.get("namespace", ""), copy.deepcopy(obj), write=write)
    except HyperdError as err:
        causes = frozenset((cause.field, cause.reason, cause.message) for cause in err.causes)
        message = err.message.removeprefix(DENIED)
        # A generated name is another at each try.
        return Made(err.code, message if "name" in meta else "", causes, told(warnings))
    if not dry_run:
        home.made.append((kind, meta.get("namespace", ""), item.name))
    made = item.object()
    kept = {name: made["metadata"].get(name) for name in ("generateName", "labels", "annotations", "finalizers")}
    if "name" not in meta:
        assert item.name.startswith(PREFIX)
        assert len(item.name) == len(PREFIX) + 5
    return Made(200, "", frozenset(), told(warnings), kept, made.get("spec"), made.get("status"))


def _named(obj: Object, **metadata: Any) -> Object:
    kind = kind_of(obj)
    where = {"namespace": WHERE} if kind.namespaced else {}
    kept = {name: obj["metadata"][name] for name in ("labels", "annotations") if name in obj["metadata"]}
    return {**copy.deepcopy(obj), "metadata": {**kept, **where, **metadata}}


@pytest.mark.parametrize("obj", examples(), ids=lambda obj: f"{obj['kind']}-{obj['metadata']['name']}")
async def test_both_homes_make_the_same_object(homes: tuple[Home, Home], obj: Object) -> None:
    kind = kind_of(obj)
    status = zero(kind.schema["properties"]["status"])
    for metadata in ({"name": "made-by-name"}, {"generateName": PREFIX}):
        for wanted in (_named(obj, **metadata), {**_named(obj, **metadata), "status": status}):
            for dry_run in (True, False):
                embedded, cluster = [await make(home, wanted, dry_run=dry_run) for home in homes]
                assert cluster == embedded
                assert embedded.code == 200, embedded
                if kind in FINALIZERS:
                    assert FINALIZERS[kind] in cluster.metadata["finalizers"]
            for home in homes:
                await home.clear()
                home.made.clear()


def _zeroed(obj: Object, kind: Kind) -> Iterator[Object]:
    """``obj`` with one more field of its spec, or one that is another's, zero as Go writes it."""

    def paths(schema: Object, value: Any, at: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
        for name, part in schema.get("properties", {}).items():
            yield (*at, name), zero(part)
            if isinstance(value, dict) and isinstance(value.get(name), dict):
                yield from paths(part, value[name], (*at, name))

    for path, value in paths(kind.schema["properties"].get("spec", {}), obj.get("spec"), ("spec",)):
        changed = copy.deepcopy(obj)
        part = changed
        for name in path[:-1]:
            part = part[name]
        part[path[-1]] = value
        yield changed


@pytest.mark.parametrize("obj", examples(), ids=lambda obj: f"{obj['kind']}-{obj['metadata']['name']}")
async def test_both_homes_say_the_same_to_a_zero(homes: tuple[Home, Home], obj: Object) -> None:
    for wanted in _zeroed(_named(obj, name="zeroed"), kind_of(obj)):
        embedded, cluster = [await make(home, wanted, dry_run=True) for home in homes]
        assert (cluster.code, cluster.spec) == (embedded.code, embedded.spec), (wanted, embedded, cluster)
