"""The two homes of the objects, as the daemon sees them: what opens, what begins, what runs beside, what closes.

Everything that differs between them is here and in the stores; controllers, sessions and the sweep get the same
``Context`` from both.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, Protocol

from hyperd.admission.dispatch import reviewer
from hyperd.api.access.authorization import Authorizer, asking
from hyperd.api.access.rules import RoleAuthorizer
from hyperd.api.audit.log import AuditLog
from hyperd.api.serving.maintenance import Backup
from hyperd.api.wire.metrics import Metrics
from hyperd.api.wire.subresources import SubresourceHandlers
from hyperd.background import Work, end_all
from hyperd.backoff import backoff
from hyperd.controllers.bootstrap import CLUSTER_NAMESPACE, bootstrap
from hyperd.controllers.context import Context
from hyperd.controllers.node.heartbeat import Heartbeat
from hyperd.controllers.node.ways import Ways
from hyperd.controllers.ownership import NodeOwner, Ownership, SoleOwner
from hyperd.controllers.placement.binder import Binder
from hyperd.controllers.placement.interface import Placement
from hyperd.controllers.placement.one_node import OneNode
from hyperd.controllers.pod.placement import Pods
from hyperd.errors import HyperdError, NotFound, PermanentError
from hyperd.hypervisor.console.log import read_log
from hyperd.offload import Offload
from hyperd.resources.all import KINDS, NAMESPACE
from hyperd.resources.values import names
from hyperd.runtime.controller import Manager
from hyperd.runtime.leader import LEADER_LEASE, Leader, identity_on
from hyperd.settings import Settings
from hyperd.store.embedded.store import EmbeddedStore
from hyperd.store.interface import Store

if TYPE_CHECKING:
    from hyperd.controllers.migration.arriving import Arrivals
    from hyperd.controllers.policy.keeper import Policies
    from hyperd.store.kubernetes.store import KubernetesStore

_log = logging.getLogger(__name__)

INSTALL_COMMAND = "hv install --image IMAGE"
_FIRST_RETRY_SECONDS = 0.5
_LAST_RETRY_SECONDS = 10.0


class Entrance(Protocol):
    """What listens for others than the daemon's own users."""

    async def start(self) -> None:
        """Raises PermanentError."""

    async def stop(self) -> None: ...


class Home(Protocol):
    """Where the objects are. ``open``, then ``prepare``; ``close`` at the end, also after a failure of either."""

    @property
    def store(self) -> Store: ...

    @property
    def ownership(self) -> Ownership: ...

    @property
    def authorizer(self) -> Authorizer:
        """Of what this daemon itself serves."""

    @property
    def instance_id(self) -> str:
        """Marks what on a host belongs to objects of this home; known once it is prepared."""

    @property
    def writes(self) -> int:
        """Writes since the start."""

    @property
    def elsewhere(self) -> str:
        """URL of the API server that serves the objects; empty when this daemon does."""

    @property
    def backup(self) -> Backup | None:
        """Copies the objects into a file, where this daemon stores them."""

    async def open(self) -> None:
        """Make the store usable. Raises PermanentError."""

    async def prepare(self) -> None:
        """Wait until the home answers, and see that it has what controllers rely on. Raises PermanentError."""

    def entrances(self, sessions: SubresourceHandlers, metrics: Metrics, audit: AuditLog) -> Sequence[Entrance]:
        """What this home itself calls the daemon by; it may have to before it can be prepared."""

    def placement(self, context: Context) -> Placement:
        """Who says where machines and disks go."""

    def beside(self, context: Context, manager: Manager) -> Sequence[Work]:
        """What runs as long as the daemon does, once controllers run."""

    async def rest(self) -> None:
        """The daemon is about to end: what relies on that it goes on is let go. Comes first of all endings."""

    async def close(self) -> None: ...


class EmbeddedHome:
    """The objects in SQLite, served by this daemon."""

    elsewhere = ""

    def __init__(self, settings: Settings, processes: Offload | None = None) -> None:
        self._settings = settings
        self.ownership: Ownership = SoleOwner()
        self.authorizer = RoleAuthorizer(KINDS)
        admit = reviewer(settings, may=asking(self.authorizer))
        self.store = EmbeddedStore(
            settings.database_path, settings=settings.store, admit=admit, kinds=KINDS, processes=processes
        )

    @property
    def instance_id(self) -> str:
        return self.store.instance_id

    @property
    def writes(self) -> int:
        return self.store.writes

    @property
    def backup(self) -> Backup:
        return self.store.backup

    async def open(self) -> None:
        await self.store.start()
        await bootstrap(self.store, self._settings)

    async def prepare(self) -> None:
        return

    def entrances(self, _: SubresourceHandlers, __: Metrics, ___: AuditLog) -> Sequence[Entrance]:
        return ()

    def placement(self, context: Context) -> Placement:
        return OneNode(context)

    def beside(self, context: Context, manager: Manager) -> Sequence[Work]:
        return ()

    async def rest(self) -> None:
        return

    async def close(self) -> None:
        await self.store.close()


class KubernetesHome:
    """The objects in a cluster's API server; one hyperd on each node, one of them leads."""

    backup = None

    def __init__(self, settings: Settings, processes: Offload | None = None) -> None:
        """``processes`` read large reviews."""
        # Loading it takes memory that an embedded home does not need.
        from hyperd.api.serving.neighbours import PeerNeighbours
        from hyperd.store.kubernetes.store import KubernetesStore

        self._settings = settings
        self._processes = processes
        conf = settings.kubernetes
        self.store: KubernetesStore = KubernetesStore(conf.kubeconfig, context=conf.context)
        self.leader = Leader(
            self.store,
            namespace=names.SYSTEM_NAMESPACE,
            name=LEADER_LEASE,
            identity=identity_on(settings.node),
            seconds=conf.lease_seconds,
        )
        self.ownership = NodeOwner(settings.node, self.leader.leads)
        self.authorizer = RoleAuthorizer(KINDS)
        self._instance_id = ""
        self._pods: Pods | None = None
        self._policies: Policies | None = None
        self._neighbours = PeerNeighbours()
        self._arrivals: Arrivals | None = None

    @property
    def instance_id(self) -> str:
        return self._instance_id

    @property
    def writes(self) -> int:
        return self.store.writes

    @property
    def elsewhere(self) -> str:
        return self.store.url

    async def open(self) -> None:
        await self.store.start()

    async def prepare(self) -> None:
        failures, logged = 0, ""
        while True:
            try:
                await self._check()
                await bootstrap(self.store, self._settings, namespace=names.SYSTEM_NAMESPACE)
            except PermanentError:
                raise
            except HyperdError as err:
                if err.message != logged:
                    logged = err.message
                    _log.warning("The cluster is not ready for hyperd; asking again until it is: %s", logged)
            else:
                if self._arrivals is not None:
                    await self._arrivals.begin()
                return
            failures += 1
            await asyncio.sleep(backoff(failures, first=_FIRST_RETRY_SECONDS, last=_LAST_RETRY_SECONDS))

    async def _check(self) -> None:
        # The uid of kube-system is what cluster-wide tools take for the cluster's own.
        system = await self.store.get(NAMESPACE, "", CLUSTER_NAMESPACE)
        served = await self.store.served(names.GROUP, names.VERSION)
        missing = sorted(kind.plural for kind in KINDS if kind.group == names.GROUP and kind.plural not in served)
        if missing:
            raise self._not_installed(f"does not serve {', '.join(missing)} of {names.GROUP}/{names.VERSION}")
        try:
            await self.store.get(NAMESPACE, "", names.SYSTEM_NAMESPACE)
        except NotFound:
            raise self._not_installed(f"has no namespace {names.SYSTEM_NAMESPACE}") from None
        self._instance_id = system.uid

    def _not_installed(self, what: str) -> PermanentError:
        return PermanentError(f"The cluster at {self.store.url} {what}. Install hyperd into it: {INSTALL_COMMAND}")

    def entrances(self, sessions: SubresourceHandlers, metrics: Metrics, audit: AuditLog) -> Sequence[Entrance]:
        from hyperd.api.serving.cluster import ClusterApi

        made = ClusterApi(
            self._settings,
            self.store,
            sessions=sessions,
            metrics=metrics,
            audit=audit,
            processes=self._processes,
            arriving=self._arrivals,
            is_away=(lambda: False) if self._pods is None else self._pods.guards.is_away,
        )
        self._neighbours.peers = made.peers
        if self._pods is not None:
            self._pods.guards.ask = self._neighbours.says_away
        return [made]

    def placement(self, context: Context) -> Placement:
        if not self._settings.kubernetes.pods:
            return Binder(context)
        from hyperd.controllers.migration.moves import PodMoves
        from hyperd.controllers.policy.keeper import Policies

        self._pods = Pods(context, self._said)
        self._policies = Policies(context)
        self._pods.cut_off = self._policies.troubles.of
        pods = self._pods
        self._policies.troubles.changed = lambda key: pods.look(key)
        moves = PodMoves(context, self._pods, self._neighbours)
        self._pods.moves, self._arrivals = moves, moves.arrivals
        return self._pods

    def _said(self, uid: str) -> AsyncGenerator[bytes, None]:
        return read_log(self._settings.console_log_dir / f"{uid}.log", lines=0, follow=True)

    def beside(self, context: Context, manager: Manager) -> Sequence[Work]:
        self.leader.on_change(manager.lead)
        guards = None if self._pods is None else self._pods.guards
        works = [self.leader.run, Heartbeat(context, guards).run, Ways(context).run]
        works += [part.run for part in (self._pods, self._policies, self._arrivals) if part is not None]
        if self._pods is not None:
            works += [self._pods.losses.run, self._pods.guards.run]
        return works

    async def rest(self) -> None:
        if self._pods is not None:
            await self._pods.guards.rest()

    async def close(self) -> None:
        await end_all((("the Lease", self.leader.release), ("the cluster's client", self.store.close)))


def make_home(settings: Settings, processes: Offload) -> Home:
    """The home that the settings name; ``processes`` work on what is large."""
    return (
        EmbeddedHome(settings, processes) if settings.home == "embedded" else KubernetesHome(settings, processes)
    )
