"""The embedded home against a real kube-apiserver as oracle: same verdict, same object, on generated objects.

Both get the same request as a rehearsal (a dry run), so a thousand of them leave nothing behind. Admission of ours
is off on both sides: what is compared is schema, defaults, pruning, cross-field rules and patches.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
from collections.abc import Awaitable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from hyperd.errors import HyperdError, NotFound
from hyperd.resources.all import KINDS
from hyperd.resources.crd import crd
from hyperd.resources.schema.kind import Kind, Object
from hyperd.settings import StoreSettings
from hyperd.store.embedded.store import EmbeddedStore
from hyperd.store.interface import Item, PatchType, Store, Write
from hyperd.store.kubernetes.store import KubernetesStore
from tests.cluster.controlplane.plane import Cluster
from tests.cluster.objects import NAME, OURS, json_patches, merge_patches, objects, valid

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
SETTINGS = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)


@dataclass(frozen=True)
class Verdict:
    """What a home made of a write: the object without what only the server may set, or the refusal."""

    code: int
    content: Any = None
    causes: tuple[tuple[str, str], ...] = ()
    message: str = ""
    warnings: tuple[str, ...] = ()


class Oracle:
    """Both homes in one event loop."""

    def __init__(self, embedded: EmbeddedStore, real: KubernetesStore) -> None:
        self.runner = asyncio.Runner()
        self._homes: tuple[Store, Store] = (embedded, real)
        self._embedded, self._real = embedded, real

    def start(self) -> None:
        self.runner.run(self._embedded.start())
        self.runner.run(self._real.start())

    def close(self) -> None:
        self.runner.run(self._embedded.close())
        self.runner.run(self._real.close())
        self.runner.close()

    def create(self, kind: Kind, obj: Object) -> tuple[Verdict, Verdict]:
        """(embedded, real) of a rehearsed create."""
        namespace = "default" if kind.namespaced else ""
        return self._both(lambda home, write: home.create(kind, namespace, copy.deepcopy(obj), write=write))

    def patch(self, kind: Kind, patch_type: PatchType, patch: Any) -> tuple[Verdict, Verdict]:
        """(embedded, real) of a rehearsed patch of the object that ``keep`` left."""
        namespace = "default" if kind.namespaced else ""
        return self._both(
            lambda home, write: home.patch(kind, namespace, NAME, patch_type, copy.deepcopy(patch), write=write)
        )

    def keep(self, kind: Kind, obj: Object) -> None:
        """Have ``obj`` in both homes, in place of the one that was there."""
        self.runner.run(self._keep(kind, obj))

    async def _keep(self, kind: Kind, obj: Object) -> None:
        namespace = "default" if kind.namespaced else ""
        for home in self._homes:
            with contextlib.suppress(NotFound):
                await home.delete(kind, namespace, NAME)
            await home.create(kind, namespace, copy.deepcopy(obj))

    def _both(self, act: Any) -> tuple[Verdict, Verdict]:
        return self.runner.run(_verdict(act, self._homes[0])), self.runner.run(_verdict(act, self._homes[1]))


async def _verdict(act: Any, home: Store) -> Verdict:
    warnings: list[str] = []
    write = Write(dry_run=True, warn=warnings.append)
    pending: Awaitable[Item] = act(home, write)
    try:
        obj = (await pending).object()
    except HyperdError as err:
        causes = tuple(sorted((cause.field, cause.message) for cause in err.causes))
        return Verdict(err.code, causes=causes, message=err.message)
    content = {key: value for key, value in obj.items() if key != "metadata"}
    content |= {key: obj["metadata"].get(key) for key in ("labels", "annotations", "finalizers")}
    # Of deprecated versions the embedded home warns in its API, above the store.
    told = sorted(text for text in warnings if " is deprecated" not in text)
    return Verdict(200, content, warnings=tuple(told))


@pytest.fixture(scope="module")
def oracle(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Oracle]:
    cluster.apply(*(crd(kind) for kind in OURS))
    folder: Path = tmp_path_factory.mktemp("oracle")
    embedded = EmbeddedStore(folder / "store.db", settings=StoreSettings(), admit=None, kinds=KINDS)
    started = Oracle(embedded, KubernetesStore(cluster.kubeconfig))
    started.start()
    yield started
    started.close()


def agree(pair: tuple[Verdict, Verdict]) -> None:
    """Same verdict, same object, same warnings, and the same fields to blame."""
    embedded, real = pair
    told = f"embedded: {embedded}\nreal: {real}"
    assert embedded.code == real.code, told
    assert embedded.content == real.content
    assert embedded.warnings == real.warnings
    assert blamed(embedded) == blamed(real) or WRONG_TYPE in str(embedded.causes), told


WRONG_TYPE = "in body must be of type"
"""For a value of the wrong type, an API server blames whichever of its checkers met it first."""


def blamed(verdict: Verdict) -> set[str]:
    """The fields of a refusal; "<nil>" is the API server's word that it has not asked the rules yet."""
    return {field for field, _ in verdict.causes} - {"<nil>"}


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.plural)
def test_creating_gives_the_same_verdict_and_the_same_object(oracle: Oracle, kind: Kind) -> None:
    @SETTINGS
    @given(objects(kind))
    def check(obj: Object) -> None:
        agree(oracle.create(kind, obj))

    check()


@pytest.mark.parametrize("patch_type", [PatchType.MERGE, PatchType.JSON], ids=lambda type_: type_.name.lower())
@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.plural)
def test_patching_gives_the_same_verdict_and_the_same_object(
    oracle: Oracle, kind: Kind, patch_type: PatchType
) -> None:
    base = valid(kind)
    oracle.keep(kind, base)

    @SETTINGS
    @given(merge_patches(base) if patch_type is PatchType.MERGE else json_patches(base))
    def check(patch: Any) -> None:
        agree(oracle.patch(kind, patch_type, patch))

    check()
