"""A real daemon in a private node, and what its users see of it.

``Hyperd`` runs a daemon inside the node with folders of its own; the API is reached through its
unix socket, as an administrator's ``hv`` would.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from hyperd.client import home, kinds, websocket
from hyperd.client.resource import Resource
from hyperd.client.sync import Client
from hyperd.errors import Timeout
from tests.host.node import Node, NodeProcess, wait_until

Object = dict[str, Any]

GUEST_MEMORY = "128Mi"

BOOT_SECONDS = 150.0
"""A guest without KVM boots in ten, and in ten times as many where others use the processors."""


def resource(word: str) -> Resource:
    """A kind by its plural, singular, short name or kind, in the version to prefer unless ``word`` names one."""
    return next(found for known in kinds.built_in() if (found := known.called(word.lower())))


def condition(obj: Object, type_: str) -> Object:
    """The object's condition of a type; empty before there is one."""
    conditions = (obj.get("status") or {}).get("conditions") or ()
    return next((dict(one) for one in conditions if one["type"] == type_), {})


class Hyperd:
    """One daemon with its own state; ``settings`` are ``--set`` assignments on top of a test's defaults.

    One whose ``hypervisor.uri`` is of libvirt's test driver is the tests' own daemon over it.
    """

    def __init__(self, node: Node, *, name: str = "", settings: Mapping[str, object] | None = None) -> None:
        self.node = node
        self.dir = node.make_dir(name)
        self.checkout = Path.cwd()
        """Whose daemon runs."""
        self.instance = f"t{self.dir.name}"
        self._process: NodeProcess | None = None
        self.settings: dict[str, object] = {
            "instance": self.instance,
            "node_name": "node",
            "state_dir": self.dir / "s",
            "run_dir": self.dir / "r",
            "log_dir": self.dir / "l",
            "config_dir": self.dir,
            "api.port": 0,
            "hypervisor.reserved_memory_bytes": 0,
            "network.virtual_machine_cidrs": '["10.66.10.0/24"]',
            "network.lease_retention_seconds": 0.0,
            "imports.allowed": '["127.0.0.0/8"]',
            "imports.cache_retention_seconds": 0.0,
            "storage.reserve_bytes": 0,
            **(settings or {}),
        }
        self.socket = self.dir / "r" / "hyperd.sock"
        self.client = Client(home.local(str(self.socket)), timeout=30)

    @property
    def state_dir(self) -> Path:
        return Path(str(self.settings["state_dir"]))

    @property
    def pid(self) -> int:
        """As the machine sees it."""
        assert self._process is not None
        return self._process.real_pid

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.client.close()
        self.stop()

    def start(self, *, env: Mapping[str, str] | None = None, ready: bool = True) -> None:
        """Start; return when the API answers."""
        driver = str(self.settings.get("hypervisor.uri", "")).startswith("test")
        argv: list[str | Path] = [sys.executable, "-m", "tests.testdriver" if driver else "hyperd.daemon"]
        for key, value in self.settings.items():
            argv += ["--set", f"{key}={value}"]
        with (self.dir / "hyperd.log").open("ab") as log:
            self._process = self.node.popen(argv, stdout=log, stderr=log, env=env, cwd=self.checkout)
        process = self._process
        if ready:
            try:
                wait_until(
                    lambda: process.poll() is not None or self.answers(), timeout=60, what="the API's answer"
                )
            except TimeoutError as err:
                raise TimeoutError(f"{err}: {self.log()}") from err
            assert process.poll() is None, self.log()

    def answers(self) -> bool:
        """Whether the API answers now."""
        self.client.close()
        try:
            self.client.raw("GET", "/readyz")
        except Exception:  # noqa: BLE001  whatever it is, the answer is no
            return False
        return True

    def local_text(self, path: str) -> str:
        """What the daemon itself answers, on its socket."""
        client = Client(home.local(str(self.socket)), timeout=5)
        try:
            return client.raw("GET", path).decode()
        finally:
            client.close()

    def stop(self) -> None:
        """SIGTERM, and wait for a clean end."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL, as a crash."""
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """SIGSTOP: nothing of it goes on, and nobody is told."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """End ``freeze``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        # nsenter stops itself with its child.
        os.kill(self._process.pid, signal.SIGCONT)

    def wait_dead(self, timeout: float = 60.0) -> None:
        """Wait until the daemon ended by itself, at a crash point."""
        assert self._process is not None
        self._process.wait(timeout)
        self._process = None
        self.client.close()

    def _end(self, sig: signal.Signals) -> None:
        process, self._process = self._process, None
        self.client.close()
        if process is not None and process.poll() is None:
            process.send_signal(sig)
            process.wait(timeout=30)

    def log(self) -> str:
        """What the daemon has logged so far."""
        return (self.dir / "hyperd.log").read_text(errors="replace")[-8000:]

    def create(self, obj: Object) -> Object:
        """POST one object, by its kind."""
        found = resource(obj["kind"])
        return self.client.create(
            found, obj["metadata"].get("namespace", "default") if found.namespaced else None, obj
        )

    def get(self, word: str, name: str, namespace: str = "default") -> Object:
        found = resource(word)
        return self.client.get(found, namespace if found.namespaced else None, name)

    def find(self, word: str, name: str, namespace: str = "default") -> Object | None:
        found = resource(word)
        return self.client.find(found, namespace if found.namespaced else None, name)

    def list(self, word: str, namespace: str | None = None) -> list[Object]:
        items: list[Object] = self.client.list(resource(word), namespace)["items"]
        return items

    def patch(self, word: str, name: str, patch: Object, namespace: str = "default") -> Object:
        found = resource(word)
        return self.client.patch(found, namespace if found.namespaced else None, name, patch)

    def events(self, name: str, namespace: str = "default") -> Sequence[Object]:
        """The events about an object."""
        about = f"involvedObject.name={name}"
        items: Sequence[Object] = self.client.list(resource("events"), namespace, fields=about)["items"]
        return items

    def delete(self, word: str, name: str, namespace: str = "default") -> None:
        found = resource(word)
        self.client.delete(found, namespace if found.namespaced else None, name)

    def wait(
        self,
        word: str,
        name: str,
        condition: Callable[[Object], object],
        *,
        namespace: str = "default",
        timeout: float = 60.0,
    ) -> Object:
        """Watch one object until ``condition`` holds of it."""
        found = resource(word)
        last: Object = {}
        deadline = time.monotonic() + timeout
        client = Client(self.client.home, timeout=timeout)
        try:
            while time.monotonic() < deadline:
                with contextlib.suppress(Timeout):
                    for event in client.watch(
                        found,
                        namespace if found.namespaced else None,
                        name=name,
                        timeout=max(0.1, deadline - time.monotonic()),
                    ):
                        last = event["object"]
                        if event["type"] != "DELETED" and condition(last):
                            return last
                        if time.monotonic() > deadline:
                            break
        finally:
            client.close()
        raise TimeoutError(
            f"{word} {name} did not get there in {timeout:g} s: {json.dumps(last, indent=1)}\n{self.log()}"
        )

    def wait_phase(self, word: str, name: str, phase: str, **kwargs: Any) -> Object:
        """Wait until ``status.phase`` is ``phase``."""
        return self.wait(word, name, lambda o: (o.get("status") or {}).get("phase") == phase, **kwargs)

    def wait_gone(self, word: str, name: str, namespace: str = "default", timeout: float = 90.0) -> None:
        wait_until(
            lambda: self.find(word, name, namespace) is None, timeout=timeout, what=f"the end of {word} {name}"
        )

    def console_log(self, vm: Object) -> str:
        """What the guest has printed on its serial console so far."""
        path = Path(str(self.settings["log_dir"])) / "consoles" / f"{vm['metadata']['uid']}.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def wait_console(self, vm: Object, text: str, timeout: float = BOOT_SECONDS) -> None:
        wait_until(lambda: text in self.console_log(vm), timeout=timeout, what=f"{text!r} on the console")


class Console:
    """A console session, as ``hv console`` opens it."""

    def __init__(
        self, daemon: Hyperd, vm: str, namespace: str = "default", *, through: home.Home | None = None
    ) -> None:
        """``through`` is another way to the daemon than the objects' home."""
        group = "subresources.virtualization.deckhouse.io/v1alpha2"
        path = f"/apis/{group}/namespaces/{namespace}/virtualmachines/{vm}/console"
        self._socket = websocket.connect(through or daemon.client.home, path)
        self.seen = b""

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._socket.close()

    def type(self, text: str) -> None:
        """Send keys."""
        self._socket.send(text.encode())

    def expect(self, text: str, *, timeout: float = 60.0) -> str:
        """Read until ``text`` appears; returns what came up to its end."""
        wanted = text.encode()
        deadline = time.monotonic() + timeout
        while wanted not in self.seen:
            left = deadline - time.monotonic()
            if left <= 0 or (not self._socket.pending() and not self._socket.wait(timeout=left)):
                raise TimeoutError(f"{text!r} did not appear; the console shows {self.seen[-2000:]!r}")
            data = self._socket.receive()
            if b"\x1b[6n" in data:
                # The shell asks where the cursor is, and takes no input before a terminal says so.
                self._socket.send(b"\x1b[1;1R")
            self.seen += data
        found, _, self.seen = self.seen.partition(wanted)
        return (found + wanted).decode(errors="replace")

    def log_in(self) -> None:
        """Reach a shell prompt, from a login prompt or a shell that is there already."""
        self.type("\r")
        if "login:" in self.expect(":"):
            self.type("root\r")
            self.expect("# ")
        self.run("true")

    def run(self, command: str, *, timeout: float = 60.0) -> str:
        """Run one shell command; returns its output."""
        number = time.monotonic_ns()
        self.type(f"{command}; echo e''nd-{number}\r")
        return self.expect(f"end-{number}", timeout=timeout)


def forwarded(daemon: Hyperd, vm: str, port: int, request: bytes) -> tuple[bytes, int]:
    """What the machine's ``port`` answers to ``request`` before it closes, and the close code."""
    group = "subresources.virtualization.deckhouse.io/v1alpha2"
    path = f"/apis/{group}/namespaces/default/virtualmachines/{vm}/portforward?port={port}&protocol=tcp"
    socket, answer = websocket.connect(daemon.client.home, path), b""
    socket.send(request)
    try:
        while socket.wait(timeout=30):
            answer += socket.receive()
    except websocket.Closed as end:
        return answer, end.code
    finally:
        socket.close()
    raise TimeoutError(f"port {port} of {vm} goes on after {answer!r}")


class ImageServer:
    """Files of one folder over HTTP on the node's loopback; ``paths`` overrides single answers."""

    def __init__(self, node: Node, folder: Path, port: int = 8099) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.folder = folder
        self._process = node.popen(
            [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", "--directory", folder, str(port)],
            stdout=open(os.devnull, "w"),  # noqa: SIM115
            stderr=open(os.devnull, "w"),  # noqa: SIM115
        )
        node.exec(
            [
                "sh",
                "-c",
                f"for i in $(seq 100); do curl -sf -o /dev/null {self.url}/ && exit 0; sleep 0.05; done; exit 1",
            ]
        )

    def close(self) -> None:
        self._process.terminate()
        self._process.wait(10)


def image(name: str, url: str, **http_: object) -> Object:
    return {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "kind": "VirtualImage",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"storage": "ContainerRegistry", "dataSource": {"type": "HTTP", "http": {"url": url, **http_}}},
    }


def disk(name: str, *, image: str = "", size: str = "") -> Object:
    spec: Object = {}
    if image:
        spec["dataSource"] = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": image}}
    if size:
        spec["persistentVolumeClaim"] = {"size": size}
    return {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "kind": "VirtualDisk",
        "metadata": {"name": name, "namespace": "default"},
        "spec": spec,
    }


def machine(name: str, *disks: str, **spec: object) -> Object:
    return {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "kind": "VirtualMachine",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "virtualMachineClassName": "generic",
            "cpu": {"cores": 1},
            "memory": {"size": GUEST_MEMORY},
            "terminationGracePeriodSeconds": 10,
            "blockDeviceRefs": [{"kind": "VirtualDisk", "name": disk} for disk in disks],
            **spec,
        },
    }


def operation(type_: str, vm: str, **spec: object) -> Object:
    return {
        "apiVersion": "virtualization.deckhouse.io/v1alpha2",
        "kind": "VirtualMachineOperation",
        "metadata": {"generateName": f"{vm}-", "namespace": "default"},
        "spec": {"type": type_, "virtualMachineName": vm, **spec},
    }
