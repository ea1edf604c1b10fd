"""A fleet of a thousand machines that are none, behind a real socket: ``hv tui --demo``.

It is a program of its own that ends with whoever started it, and speaks what hv asks of any home: lists, watches,
single objects, changes and operations. Nothing is stored, and no machine is touched.
"""

from __future__ import annotations

import asyncio
import copy
import json
import os
import random
import sys
import time
import zlib
from collections import defaultdict
from collections.abc import Callable

from aiohttp import web

from hyperd.client.amounts import quantity
from hyperd.client.kinds import built_in
from hyperd.client.paths import collection
from hyperd.client.resource import Resource
from tui.demofleet import NODES, Inhabitants, Object, stamp, uid

MACHINES = 1000
_TICK_SECONDS = 1.0
_MEASURED = 100
"""So many machines tell of themselves in a second."""
_CHANGES = 3
_SHUTDOWN_SECONDS = 0.2
_RESOURCES = {one.plural: one for one in built_in()}


class Demo:
    """All objects by kind, and who watches them."""

    def __init__(
        self, machines: int = MACHINES, seed: int = 7, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._random = random.Random(seed)  # noqa: S311  nothing depends on it
        self._clock = clock
        self._version = 1
        self._measured = 0
        self._gone: set[tuple[str, str, str]] = set()
        self.objects: dict[str, dict[tuple[str, str], Object]] = defaultdict(dict)
        self._watchers: dict[str, set[asyncio.Queue[bytes]]] = defaultdict(set)
        self._began = clock()
        self._cpu: dict[tuple[str, str], float] = defaultdict(float)
        inhabitants = Inhabitants(machines, seed)
        for plural, namespace, obj in inhabitants.all():
            obj["metadata"].setdefault("creationTimestamp", inhabitants.age())
            self.put(plural, namespace, obj)

    def put(self, plural: str, namespace: str, obj: Object, *, kind: str = "ADDED") -> Object:
        """Keep it as it is now, and tell who watches."""
        self._version += 1
        resource, metadata = _RESOURCES[plural], obj["metadata"]
        obj.setdefault("apiVersion", resource.api_version)
        obj.setdefault("kind", resource.kind)
        before = self.objects[plural].get((namespace, metadata["name"]))
        new = uid(plural, namespace, metadata["name"])
        if (plural, namespace, metadata["name"]) in self._gone:
            new += f"-{self._version}"  # another one, though of the same name
        metadata.setdefault("uid", before["metadata"]["uid"] if before is not None else new)
        metadata.setdefault("creationTimestamp", stamp(0))
        metadata["resourceVersion"] = str(self._version)
        if namespace:
            metadata["namespace"] = namespace
        self.objects[plural][namespace, metadata["name"]] = obj
        self._tell(plural, kind, obj)
        return obj

    def drop(self, plural: str, key: tuple[str, str]) -> Object | None:
        obj = self.objects[plural].pop(key, None)
        if obj is not None:
            self._gone.add((plural, *key))
            self._version += 1
            obj["metadata"]["resourceVersion"] = str(self._version)
            self._tell(plural, "DELETED", obj)
        return obj

    def _tell(self, plural: str, kind: str, obj: Object) -> None:
        if watchers := self._watchers[plural]:
            line = json.dumps({"type": kind, "object": obj}).encode() + b"\n"
            for queue in watchers:
                queue.put_nowait(line)

    async def live(self) -> None:
        """Machines use something, and now and then one of them changes."""
        while True:
            await asyncio.sleep(_TICK_SECONDS)
            self.measure(_MEASURED)
            machines = list(self.objects["virtualmachines"])
            for key in self._random.sample(machines, min(_CHANGES, len(machines))):
                machine = self.objects["virtualmachines"].get(key)
                if machine is not None and machine["status"].get("phase") == "Running":
                    load = {"message": f"demo load {self._random.randrange(100)}"}
                    machine["metadata"]["annotations"] = load
                    self.put("virtualmachines", key[0], machine, kind="MODIFIED")

    def measure(self, most: int) -> None:
        """What the next ``most`` machines use, and what all nodes do."""
        machines = list(self.objects["virtualmachines"])
        for _ in range(min(most, len(machines))):
            self._measured = (self._measured + 1) % len(machines)
            self._measure(machines[self._measured])
        for number in range(NODES):
            self._measure_node(f"demo-{number}")

    def _measure(self, key: tuple[str, str]) -> None:
        machine = self.objects["virtualmachines"].get(key)
        if machine is None or machine["status"].get("phase") != "Running":
            self.drop("virtualmachinestats", key)
            return
        cores = machine["spec"]["cpu"]["cores"]
        memory = int(quantity(machine["spec"]["memory"]["size"]) or 0)
        self._put_stats("virtualmachinestats", key, cores, memory, disks=True)

    def _measure_node(self, name: str) -> None:
        self._put_stats("nodestats", ("", name), 64, 512 << 30, disks=False)

    def _put_stats(self, plural: str, key: tuple[str, str], cores: int, memory: int, *, disks: bool) -> None:
        now = int((self._clock() - self._began) * 1e9)
        before = self.objects[plural].get(key)
        since = now - before["uptimeNanoseconds"] if before is not None else 0
        share = (zlib.crc32("/".join(key).encode()) % 70 + self._random.random() * 30) / 100
        self._cpu[key] += since * cores * share
        done = int(self._cpu[key])
        stats: Object = {
            "metadata": {"name": key[1]}, "uptimeNanoseconds": now,
            "cpu": {"cores": cores, "nanoseconds": done, "waitNanoseconds": 0},
            "memory": {"bytes": memory, "availableBytes": int(memory * (0.9 - share / 2))},
        }  # fmt: skip
        if disks:
            stats["disks"] = [{"readBytes": done // 900, "writeBytes": done // 400}]
            stats["interfaces"] = [{"receivedBytes": done // 300, "sentBytes": done // 700}]
        else:
            stats["storage"] = {"bytes": 20 << 40, "availableBytes": 9 << 40}
        self.put(plural, key[0], stats, kind="MODIFIED" if before is not None else "ADDED")

    # HTTP

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """One request of hv's."""
        if request.path == "/version":
            return web.json_response({"gitVersion": "v1.33.0+hyperd.demo"})
        found = _found(request.path)
        if found is None:
            return _status(404, "NotFound", "The demo has no such thing.")
        resource, namespace, name = found
        if request.method == "GET" and not name:
            return await self._many(request, resource, namespace)
        plural, key = resource.plural, (namespace, name)
        obj = self.objects[plural].get(key)
        if request.method == "POST" and not name:
            return self._create(resource, namespace, await request.json(), dry="dryRun" in request.query)
        if obj is None:
            return _status(404, "NotFound", f'{plural} "{name}" not found')
        if request.method == "GET":
            return web.json_response(obj)
        if request.method == "DELETE":
            return web.json_response(self.drop(plural, key))
        if request.method == "PATCH":
            made = merged(obj, await request.json())
            if "dryRun" not in request.query:
                self.put(plural, namespace, made, kind="MODIFIED")
            return web.json_response(made)
        return _status(405, "MethodNotAllowed", "The demo does not do that.")

    async def _many(self, request: web.BaseRequest, resource: Resource, namespace: str) -> web.StreamResponse:
        plural = resource.plural
        if "watch" not in request.query:
            items = [obj for (where, _), obj in self.objects[plural].items() if namespace in ("", where)]
            version = {"resourceVersion": str(self._version)}
            return web.json_response({"kind": f"{resource.kind}List", "metadata": version, "items": items})
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self._watchers[plural].add(queue)
        response = web.StreamResponse()
        try:
            await response.prepare(request)
            while True:
                await response.write(await queue.get())
        except ConnectionError:
            return response
        finally:
            self._watchers[plural].discard(queue)

    def _create(self, resource: Resource, namespace: str, obj: Object, *, dry: bool) -> web.Response:
        metadata = obj.setdefault("metadata", {})
        if prefix := metadata.pop("generateName", ""):
            metadata["name"] = f"{prefix}{self._version:x}"
        if not isinstance(metadata.get("name"), str) or not metadata["name"]:
            return _status(422, "Invalid", "metadata.name: Required value")
        if (namespace, metadata["name"]) in self.objects[resource.plural]:
            return _status(409, "AlreadyExists", f'{resource.plural} "{metadata["name"]}" already exists')
        if not dry:
            metadata["creationTimestamp"] = stamp(0)
            self.put(resource.plural, namespace, obj)
            if resource.kind == "VirtualMachineOperation":
                asyncio.get_running_loop().create_task(self._operate(namespace, metadata["name"]))
        return web.json_response(obj, status=201)

    async def _operate(self, namespace: str, name: str) -> None:
        op = self.objects["virtualmachineoperations"][namespace, name]
        self.put("virtualmachineoperations", namespace, {**op, "status": {"phase": "InProgress"}}, kind="MODIFIED")
        await asyncio.sleep(2.0)
        machine = self.objects["virtualmachines"].get((namespace, op["spec"].get("virtualMachineName", "")))
        if machine is not None:
            machine["status"]["phase"] = "Stopped" if op["spec"].get("type") == "Stop" else "Running"
            self.put("virtualmachines", namespace, machine, kind="MODIFIED")
        self.put("virtualmachineoperations", namespace, {**op, "status": {"phase": "Completed"}}, kind="MODIFIED")


def merged(obj: Object, patch: Object) -> Object:
    """A JSON merge patch."""
    made = copy.copy(obj)
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        elif isinstance(value, dict):
            inner = made.get(key)
            made[key] = merged(inner if isinstance(inner, dict) else {}, value)
        else:
            made[key] = value
    return made


def _found(path: str) -> tuple[Resource, str, str] | None:
    """(kind, namespace, name) of a path of the API."""
    parts = path.strip("/").split("/")
    namespace = ""
    if "namespaces" in parts[:-2]:
        at = parts.index("namespaces")
        namespace = parts[at + 1]
        del parts[at : at + 2]
    for resource in _RESOURCES.values():
        root = collection(resource, None).strip("/").split("/")
        if parts[: len(root)] == root and len(parts) - len(root) in (0, 1):
            return resource, namespace, parts[len(root)] if len(parts) > len(root) else ""
    return None


def _status(code: int, reason: str, message: str) -> web.Response:
    body = {"kind": "Status", "apiVersion": "v1", "code": code, "reason": reason, "message": message}
    return web.json_response(body, status=code)


async def serve(path: str, demo: Demo) -> None:
    """Until cancelled, or standard input ends: then whoever started this is gone."""
    runner = web.ServerRunner(web.Server(demo.answer), shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    await web.UnixSite(runner, path).start()
    loop = asyncio.get_running_loop()
    gone = loop.create_future()

    def read() -> None:
        if not os.read(0, 4096) and not gone.done():
            gone.set_result(None)

    loop.add_reader(0, read)
    living = asyncio.create_task(demo.live())
    sys.stdout.write("ready\n")  # for whoever waits for it
    sys.stdout.flush()
    try:
        await gone
    finally:
        living.cancel()
        await runner.cleanup()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], Demo()))
