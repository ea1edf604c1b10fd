"""Ownership in the embedded home against a real kube-apiserver as oracle, on generated histories of an object.

Several managers apply, update, patch and report status of one object in both homes; after every write both must
say the same: the object, who owns which field of it, and why a write was refused. Times are not compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hyperd.errors import HyperdError, NotFound
from hyperd.resources.all import KINDS as OUR_KINDS
from hyperd.resources.crd import crd
from hyperd.resources.schema.kind import Kind, Object
from hyperd.settings import StoreSettings
from hyperd.store.embedded.store import EmbeddedStore
from hyperd.store.interface import Item, PatchType, Store, Write
from hyperd.store.kubernetes.store import KubernetesStore
from tests.cluster.controlplane.plane import Cluster
from tests.cluster.objects import OURS, merge_patches, objects, valid
from tests.contract.store.kinds import CONFIG_MAPS, KINDS, SECRETS, WIDGETS

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
SETTINGS = settings(
    max_examples=100,
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate, Phase.shrink),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
NAME = "owned"
MANAGERS = st.sampled_from(("one", "two", "three", "kubectl"))


class Act(Protocol):
    """One write to the object of a home, or None where it makes no sense."""

    async def __call__(self, home: Store) -> Item | None: ...


@dataclass(frozen=True)
class Step:
    """A write as it was generated; ``content`` is a configuration, a patch, or edits of what is there."""

    verb: str
    manager: str
    content: Any
    force: bool = False
    subresource: str = ""


def _sparse(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries({}, optional=fields)


_LETTERS = st.sampled_from(("a", "b", "c"))
_TEXTS = st.dictionaries(_LETTERS, st.sampled_from(("", "1", "2")), max_size=3)
_LEAVES = st.one_of(st.none(), st.booleans(), st.integers(0, 2), _LETTERS)
_FREE = st.recursive(
    _LEAVES, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_LETTERS, inner, max_size=2), max_leaves=4
)
_PORTS = st.lists(
    st.fixed_dictionaries(
        {"port": st.sampled_from((8, 80, 443))},
        optional={"protocol": st.sampled_from(("TCP", "UDP")), "label": st.sampled_from(("x", "y"))},
    ),
    max_size=3,
)
_METADATA = _sparse(
    labels=_TEXTS,
    annotations=_TEXTS,
    finalizers=st.lists(st.sampled_from(("test.io/a", "test.io/b", "test.io/c")), max_size=2, unique=True),
)
_SPEC = _sparse(
    size=st.integers(0, 101),
    color=st.sampled_from(("red", "grey")),
    shape=st.sampled_from(("round", "round", "square")),
    parts=st.lists(_sparse(name=_LETTERS, weight=st.integers(0, 2)), max_size=2),
    tags=st.lists(_LETTERS, max_size=3),
    ports=_PORTS,
    options=_TEXTS,
    extra=_FREE,
)
_CONDITION = st.fixed_dictionaries(
    {
        "type": _LETTERS, "status": st.sampled_from(("True", "False")), "reason": st.just("R"),
        "message": st.just(""), "lastTransitionTime": st.just("2026-01-01T00:00:00Z"),
    }
)  # fmt: skip
_STATUS = _sparse(phase=_LETTERS, conditions=st.lists(_CONDITION, max_size=2, unique_by=lambda one: one["type"]))
_CONTENT = {
    WIDGETS: {"spec": _SPEC, "status": _STATUS},
    CONFIG_MAPS: {"data": _TEXTS, "binaryData": st.dictionaries(st.sampled_from(("x", "y")), st.just("MQ=="))},
    SECRETS: {
        "data": st.dictionaries(_LETTERS, st.sampled_from(("MQ==", "Mg==")), max_size=2), "stringData": _TEXTS,
    },
}  # fmt: skip


def steps(kind: Kind) -> st.SearchStrategy[Step]:
    """Any write to the object of ``kind``."""
    content = _CONTENT[kind]
    whole = _sparse(metadata=_METADATA, **content)
    # A configuration without a spec is refused for that alone.
    config = st.builds(lambda made, rest: {**rest, **made}, whole, st.just({"spec": {"size": 1}}) | st.just({}))
    config = whole if kind.core else config
    patch = _sparse(metadata=_METADATA, **{name: _patched(strategy) for name, strategy in content.items()})
    made = [
        st.builds(Step, st.just("apply"), MANAGERS, config, st.booleans()),
        st.builds(Step, st.just("apply"), MANAGERS, config, st.booleans()),
        st.builds(Step, st.just("update"), MANAGERS, whole),
        st.builds(Step, st.just("merge"), MANAGERS, patch),
        st.builds(Step, st.just("entries"), MANAGERS, st.sampled_from(("drop", "empty", "reset", "move", "junk"))),
    ]
    if kind.core:
        made.append(st.builds(Step, st.just("strategic"), MANAGERS, whole))
    else:
        status = st.just("status")
        made.append(st.builds(Step, st.just("apply"), MANAGERS, config, st.booleans(), status))
        made.append(st.builds(Step, st.just("update"), MANAGERS, whole, st.just(False), status))
        made.append(st.builds(Step, st.just("merge"), MANAGERS, patch, st.just(False), status))
    return st.one_of(*made)


def _patched(strategy: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    dropped = st.dictionaries(
        st.sampled_from(("color", "tags", "options", "ports", "extra", "a", "phase")), st.none()
    )
    return st.builds(lambda made, gone: {**made, **gone}, strategy, dropped) | strategy


def act(kind: Kind, step: Step) -> Act:
    """``step`` as a write that either home can make."""
    write = Write(field_manager=step.manager)
    where = (kind, _scope(kind), NAME)

    async def run(home: Store) -> Item | None:
        content = copy.deepcopy(step.content)
        if step.verb == "apply":
            config = {"apiVersion": kind.api_version, "kind": kind.kind, **content}
            config["metadata"] = {**config.get("metadata", {}), "name": NAME}
            return (await home.apply(*where, config, subresource=step.subresource, force=step.force, write=write))[
                0
            ]
        if step.verb == "create":
            return await home.create(*where[:2], {**content, "metadata": {"name": NAME}}, write=write)
        if step.verb in ("merge", "strategic"):
            patch_type = PatchType.MERGE if step.verb == "merge" else PatchType.STRATEGIC
            return await home.patch(*where, patch_type, content, subresource=step.subresource, write=write)
        obj = (await home.get(*where)).object()
        if step.verb == "entries":
            _change_entries(obj, content)
        else:
            for part, value in content.items():
                obj[part] = {**obj.get(part, {}), **value} if part == "metadata" else value
        return await home.update(*where, obj, subresource=step.subresource, write=write)

    return run


def _scope(kind: Kind) -> str:
    return "default" if kind.namespaced else ""


def _change_entries(obj: Object, how: str) -> None:
    """What clients do to managedFields, of which little has an effect."""
    meta = obj["metadata"]
    entries = meta.get("managedFields", [])
    if how == "drop":
        meta.pop("managedFields", None)
    elif how == "empty":
        meta["managedFields"] = []
    elif how == "reset":
        meta["managedFields"] = [{}]
    elif how == "junk":
        meta["managedFields"] = [{"manager": "junk"}]
    elif how == "move":
        for entry in entries:
            entry["manager"] = f"former-{entry['manager']}"[:40]


class Homes:
    """Both homes in one event loop, each with the one object."""

    def __init__(self, embedded: EmbeddedStore, real: KubernetesStore) -> None:
        self.runner = asyncio.Runner()
        self._homes: tuple[EmbeddedStore | KubernetesStore, ...] = (embedded, real)

    def start(self) -> None:
        for home in self._homes:
            self.runner.run(home.start())

    def close(self) -> None:
        for home in self._homes:
            self.runner.run(home.close())
        self.runner.close()

    def clear(self, kind: Kind) -> None:
        """Begin with nothing."""
        for home in self._homes:
            with contextlib.suppress(NotFound):
                free = {"metadata": {"finalizers": None}}
                self.runner.run(home.patch(kind, _scope(kind), NAME, PatchType.MERGE, free))
                self.runner.run(home.delete(kind, _scope(kind), NAME))

    def both(self, action: Act) -> list[Any]:
        """What each home made of it."""
        return [self.runner.run(_outcome(action, home)) for home in self._homes]


async def _outcome(action: Act, home: Store) -> Any:
    try:
        item = await action(home)
    except HyperdError as err:
        blamed = sorted((cause.field, cause.reason) for cause in err.causes if cause.field != "<nil>")
        conflicts = sorted(err.message.splitlines()) if err.code == 409 else []
        return err.code, blamed, conflicts
    assert item is not None
    obj = item.object()
    for name in ("uid", "creationTimestamp", "resourceVersion"):
        del obj["metadata"][name]
    # Whose entry is older depends on when a second ended; that a time is there does not.
    entries = [{**entry, "time": bool(entry.get("time"))} for entry in obj["metadata"].get("managedFields", [])]
    obj["metadata"]["managedFields"] = sorted(entries, key=lambda entry: str(sorted(entry.items())))
    return obj


SHORT = settings(SETTINGS, max_examples=15)


def every_kind(kind: Kind) -> st.SearchStrategy[list[Step]]:
    """A valid object of ``kind``, and what managers make of it with generated ones, most of them almost valid."""
    generated: st.SearchStrategy[Object] = objects(kind).map(lambda obj: {"metadata": {}, "spec": obj.get("spec")})
    first: Object = {"metadata": {}, "spec": valid(kind).get("spec")}
    later = st.one_of(
        st.builds(Step, st.just("apply"), MANAGERS, generated, st.booleans()),
        st.builds(Step, st.just("apply"), MANAGERS, st.just(first), st.booleans()),
        st.builds(Step, st.just("update"), MANAGERS, generated),
        st.builds(Step, st.just("merge"), MANAGERS, merge_patches(valid(kind)).filter(_harmless)),
    )
    begin = st.sampled_from(("apply", "create")).map(lambda verb: Step(verb, "one", first))
    return st.builds(
        lambda one, more: [one, *more], begin, st.lists(later.filter(_is_yaml), min_size=1, max_size=5)
    )


def _is_yaml(step: Step) -> bool:
    """Whether an apply, which an API server reads as YAML, may carry these characters."""
    return step.verb != "apply" or json.dumps(step.content, ensure_ascii=False).isprintable()


def _harmless(patch: Any) -> bool:
    """Whether a patch leaves metadata alone, of which a server writes much by itself."""
    return isinstance(patch, dict) and "metadata" not in patch


@pytest.fixture(scope="module")
def ours(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Homes]:
    cluster.apply(*(crd(kind) for kind in OURS))
    folder = tmp_path_factory.mktemp("ours")
    embedded = EmbeddedStore(folder / "store.db", settings=StoreSettings(), admit=None, kinds=OUR_KINDS)
    started = Homes(embedded, KubernetesStore(cluster.kubeconfig))
    started.start()
    yield started
    started.close()


@pytest.fixture(scope="module")
def homes(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Homes]:
    cluster.apply(crd(WIDGETS))
    folder = tmp_path_factory.mktemp("owners")
    embedded = EmbeddedStore(folder / "store.db", settings=StoreSettings(), admit=None, kinds=KINDS)
    started = Homes(embedded, KubernetesStore(cluster.kubeconfig))
    started.start()
    yield started
    started.close()


@pytest.mark.parametrize("kind", [WIDGETS, CONFIG_MAPS, SECRETS], ids=lambda kind: kind.plural)
def test_every_write_of_a_history_leaves_the_same_object_with_the_same_owners(homes: Homes, kind: Kind) -> None:
    @SETTINGS
    @given(st.lists(steps(kind), min_size=1, max_size=8))
    def check(history: list[Step]) -> None:
        homes.clear(kind)
        for number, step in enumerate(history):
            embedded, real = homes.both(act(kind, step))
            assert embedded == real, f"after {history[: number + 1]}"

    check()


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.plural)
def test_every_kind_has_the_same_owners_in_both_homes(ours: Homes, kind: Kind) -> None:
    @SHORT
    @given(every_kind(kind))
    def check(history: list[Step]) -> None:
        ours.clear(kind)
        for number, step in enumerate(history):
            embedded, real = ours.both(act(kind, step))
            assert _but_types(embedded) == _but_types(real), f"after {history[: number + 1]}"

    check()


def _but_types(outcome: Any) -> Any:
    """For a value of the wrong type, an API server blames whichever of its checkers met it first."""
    if isinstance(outcome, tuple) and outcome[0] == 422:
        return (422,)
    return outcome
