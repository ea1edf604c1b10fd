"""The Pods of machines that are on this node, and the launchers in them: met while they are there.

A launcher asks for its guest's shutdown when its Pod ends. Where there is no guest it is let go at once, whether
or not there is a machine any more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from functools import partial
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path

from hyperd.background import Background
from hyperd.controllers.pod import reading
from hyperd.errors import TemporaryError
from hyperd.launcher.connection import Launcher, connect
from hyperd.resources.schema.kind import Object
from hyperd.resources.values import meta, names
from hyperd.runtime.informer import Informer
from hyperd.store.interface import EventType, Item

_log = logging.getLogger(__name__)
_FIRST_SECONDS, _LAST_SECONDS = 0.05, 2.0


class Tenants:
    """``changed`` gets a Pod that says something new; ``runs`` says whether the machine with a uid has a guest."""

    def __init__(
        self,
        pods: Informer[Object],
        node: str,
        kubelet_dir: Path,
        *,
        changed: Callable[[Object], None],
        runs: Callable[[str], bool],
    ) -> None:
        self._pods = pods
        self._node = node
        self._kubelet_dir = kubelet_dir
        self._changed = changed
        self._runs = runs
        self._launchers: dict[str, Launcher] = {}
        self._attended: set[str] = set()
        self._background = Background()
        self.moved = asyncio.Event()
        """A Pod of this node came, went, or has an address by now."""

    def start(self) -> None:
        """Meet those that are there, and those to come."""
        self._pods.add_handler(self._on_pod)

    async def close(self) -> None:
        """Part from all; they go on."""
        await self._background.stop()
        for launcher in list(self._launchers.values()):
            await launcher.close()
        self._launchers.clear()

    def launcher(self, pod_uid: str) -> Launcher | None:
        """The one that answers in that Pod."""
        found = self._launchers.get(pod_uid)
        return None if found is None or found.gone else found

    def addresses(self) -> Collection[IPv4Address]:
        """Of all Pods of this node."""
        here = (item.object() for item in self._pods.items())
        return {found for pod in here if reading.node_of(pod) == self._node and (found := address_of(pod))}

    def _on_pod(self, _: EventType, old: Item[Object] | None, new: Item[Object] | None) -> None:
        pod = None if new is None else new.object()
        if pod is None or reading.node_of(pod) != self._node:
            if old is not None:
                self.moved.set()
            return
        self.moved.set()
        self._changed(pod)
        uid = pod["metadata"]["uid"]
        if uid not in self._attended and not reading.is_finished(pod):
            self._attended.add(uid)
            self._background.spawn(partial(self._attend, pod), f"pod {uid}")

    async def _attend(self, pod: Object) -> None:
        """Keep in touch with one Pod's launcher until the Pod is no more, or has ended."""
        where, wait, loop = pod["metadata"], _FIRST_SECONDS, asyncio.get_running_loop()
        uid = where["uid"]
        try:
            while self._is_there(where):
                began = loop.time()
                with suppress(TemporaryError):
                    await self._meet(pod)
                if loop.time() - began > _LAST_SECONDS:
                    wait = _FIRST_SECONDS
                # Also where one was met: what parts again and again is none of ours.
                await asyncio.sleep(wait)
                wait = min(wait * 2, _LAST_SECONDS)
        finally:
            self._attended.discard(uid)

    async def _meet(self, pod: Object) -> None:
        """Be in touch with the launcher until it is gone. Raises TemporaryError while none answers."""
        heard, uid = asyncio.Event(), pod["metadata"]["uid"]
        launcher = self._launchers[uid] = await connect(self._kubelet_dir, uid, heard.set)
        try:
            await self._listen(pod, launcher, heard)
        finally:
            del self._launchers[uid]
            await launcher.close()
            self._changed(pod)
            self.moved.set()

    async def _listen(self, pod: Object, launcher: Launcher, heard: asyncio.Event) -> None:
        self._changed(pod)
        self.moved.set()
        machine = meta.labels(pod).get(names.VM_UID_LABEL, "")
        while not launcher.gone:
            await heard.wait()
            heard.clear()
            if launcher.ending and not launcher.gone and not self._runs(machine):
                try:
                    await launcher.tell_ended(0)
                except TemporaryError as error:
                    _log.info("%s", error)
            self._changed(pod)

    def _is_there(self, where: Object) -> bool:
        item = self._pods.item(where["namespace"], where["name"])
        return item is not None and item.uid == where["uid"] and not reading.is_finished(item.object())


def address_of(pod: Object) -> IPv4Address | None:
    """The Pod's address; None before it has one."""
    try:
        return IPv4Address((pod.get("status") or {}).get("podIP") or "")
    except AddressValueError:
        return None
