"""Every body of the corpus: the loop goes on, others are answered, memory stays small. See its README."""

from __future__ import annotations

import asyncio
import asyncio.events
import gc
import json
import resource
import sys
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.unit.api.conftest import Api, config_map

CORPUS = Path(__file__).parents[2] / "corpus" / "bodies"
CLIENT = Path(__file__).with_name("bodyclient.py")
TYPES = {
    "json": "application/json",
    "yaml": "application/yaml",
    "protobuf": "application/vnd.kubernetes.protobuf",
    "merge-patch": "application/merge-patch+json",
    "json-patch": "application/json-patch+json",
    "strategic-merge": "application/strategic-merge-patch+json",
    "apply": "application/apply-patch+yaml",
}
CREATES = ("json", "yaml", "protobuf")
MOST_CPU = 0.1
MOST_LATE = 1.0
MOST_GROWTH = 300 << 20
MOST_BESIDE = 700 << 20


@dataclass
class Case:
    name: str
    form: str
    path: str
    status: tuple[int, ...]
    body: bytes


def content(file: Path) -> tuple[dict[str, str], bytes]:
    """What a file of the corpus says of its body, and that."""
    head, _, text = file.read_text().partition("---\n")
    told = dict(line.split(": ", 1) for line in head.splitlines() if not line.startswith("#"))
    return told, "".join(map(_expanded, text.removesuffix("\n").split("\n"))).encode("latin-1")


def read(file: Path) -> Case:
    told, body = content(file)
    resource_ = told.get("resource", "configmaps")
    group, _, plural = resource_.rpartition("/")
    path = told.get("path") or f"{'/apis/' + group if group else '/api/v1'}/namespaces/default/{plural}"
    form = file.parent.name
    if form not in CREATES:
        path += "/thing" + ("?fieldManager=test" if form == "apply" else "")
    status = tuple(map(int, told.get("status", "").split()))
    return Case(f"{form}/{file.stem}", form, path, status, body)


def _expanded(line: str) -> str:
    if not line.startswith("@"):
        return _unescaped(line)
    count, separator, template = line[1:].split(" ", 2)
    joint, template = "" if separator == "_" else _unescaped(separator), _unescaped(template)
    if "%d" in template:
        return joint.join(template.replace("%d", str(number)) for number in range(int(count)))
    return joint.join([template] * int(count))


def _unescaped(text: str) -> str:
    return text.encode().decode("unicode_escape")


class Callbacks:
    """The most CPU time that one callback of the loop has used, in seconds."""

    def __init__(self) -> None:
        self.worst = 0.0
        self.what = ""


@contextmanager
def timed_callbacks() -> Iterator[Callbacks]:
    found = Callbacks()
    original = asyncio.events.Handle._run

    def run(handle: asyncio.events.Handle) -> None:
        started = time.thread_time()
        original(handle)
        if (used := time.thread_time() - started) > found.worst:
            found.worst, found.what = used, repr(handle)[:200]

    asyncio.events.Handle._run = run  # type: ignore[method-assign,assignment]
    try:
        yield found
    finally:
        asyncio.events.Handle._run = original  # type: ignore[method-assign]


@asynccontextmanager
async def client(api: Api) -> AsyncIterator[Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(CLIENT), str(api.settings.socket_path), stdin=PIPE, stdout=PIPE
    )
    try:
        yield process
    finally:
        process.kill()
        await process.wait()


async def ask(process: Process, case: Case, folder: Path) -> dict[str, Any]:
    file = folder / "body"
    await asyncio.to_thread(file.write_bytes, case.body)
    request = {
        "method": "POST" if case.form in CREATES else "PATCH",
        "path": case.path,
        "type": TYPES[case.form],
        "file": str(file),
    }
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(request).encode() + b"\n")
    answer: dict[str, Any] = json.loads(await process.stdout.readline())
    return answer


async def things(api: Api) -> None:
    """What the patches are for, as if new."""
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "thing"},
        "spec": {"ports": [{"port": 1}]},
    }
    for plural, thing in (("configmaps", config_map("thing", a="b")), ("services", service)):
        for name in ("thing", "x"):
            path = f"/api/v1/namespaces/default/{plural}/{name}"
            await api.call(
                "PATCH", path, {"metadata": {"finalizers": None}}, headers={"Content-Type": TYPES["merge-patch"]}
            )
            await api.call("DELETE", path)
        await api.call("POST", f"/api/v1/namespaces/default/{plural}", thing)
    classes = "/apis/virtualization.deckhouse.io/v1alpha2/virtualmachineclasses"
    for name in ("thing", "x"):
        await api.call("DELETE", f"{classes}/{name}")
    await api.call("POST", classes, {"metadata": {"name": "thing"}, "spec": {"cpu": {"type": "Host"}}})


def peak() -> int:
    """Bytes."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) << 10


def largest_child() -> int:
    """Bytes at the peak of any process that this one has waited for, those of other tests too.

    A child's begins with this process's own, which is told apart only where that is small.
    """
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss << 10


async def judged(api: Api, process: Process, case: Case, folder: Path, callbacks: Callbacks) -> list[str]:
    await things(api)
    callbacks.worst = 0.0
    answer = await ask(process, case, folder)
    faults = []
    if answer["status"] not in (case.status or range(200, 500)):
        faults.append(f"answered {answer['status']}")
    if callbacks.worst > MOST_CPU:
        faults.append(f"the loop was held for {callbacks.worst:.3f} s of CPU time by {callbacks.what}")
    if (late := answer["innocent"] - answer["control"]) > MOST_LATE:
        faults.append(f"another user's answer was {late:.3f} s late")
    return faults


@pytest.mark.parametrize("form", TYPES)
async def test_a_hostile_body_holds_up_nobody(api: Api, folder: Path, form: str) -> None:
    files = sorted((CORPUS / form).glob("*.body"))
    assert files
    faults: dict[str, list[str]] = {}
    # What other tests left in this process is not the loop's to collect.
    gc.freeze()
    await asyncio.to_thread(Path("/proc/self/clear_refs").write_text, "5")
    before, largest = peak(), largest_child()
    async with client(api) as process:
        with timed_callbacks() as callbacks:
            for file in files:
                case = await asyncio.to_thread(read, file)
                found = await judged(api, process, case, folder, callbacks)
                # What a busy host does to CPU time it does not do twice.
                if found and (found := await judged(api, process, case, folder, callbacks)):
                    faults[case.name] = found
    assert not faults
    assert peak() - before < MOST_GROWTH
    assert largest_child() < max(MOST_BESIDE, largest + 1, peak() + (64 << 20))
