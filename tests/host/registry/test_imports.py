"""Imports by a whole daemon: who waits for whom, when a failed one is tried again, and what its status says."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import pytest

from hyperd.resources.all import CLUSTER_VIRTUAL_IMAGE
from tests.host.node import Node
from tests.host.registry.moods import Moody
from tests.host.registry.moody import RETRY_AFTER_SECONDS
from tests.host.running import Hyperd, Object, disk, image


@pytest.fixture(scope="module")
def daemon(node: Node) -> Iterator[Hyperd]:
    with Hyperd(node) as made:
        for name in ("hostile", "other"):
            made.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        yield made


@pytest.fixture(scope="module")
def server(node: Node) -> Iterator[Moody]:
    made = Moody(node, node.make_dir() / "log")
    yield made
    made.close()


def retry(found: Object) -> int:
    """How often it failed."""
    return int(((found.get("status") or {}).get("retry") or {}).get("failures", 0))


def cluster_image(name: str, url: str) -> Object:
    made = image(name, url)
    made["kind"] = CLUSTER_VIRTUAL_IMAGE.kind
    made["metadata"].pop("namespace", None)
    made["spec"].pop("storage", None)
    return made


def in_namespace(made: Object, namespace: str) -> Object:
    made["metadata"]["namespace"] = namespace
    return made


def test_slow_servers_keep_nobody_waiting(daemon: Hyperd, server: Moody) -> None:
    for number in range(6):
        daemon.create(in_namespace(image(f"slow-{number}", server.url(f"slow/{number}")), "hostile"))
    daemon.create(in_namespace(image("good", server.url("good/a")), "other"))
    daemon.create(in_namespace(image("good", server.url("good/b")), "hostile"))
    daemon.wait_phase("vi", "good", "Ready", namespace="other")
    daemon.wait_phase("vi", "good", "Ready", namespace="hostile")
    for number in range(6):
        # None of the slow ones had to be done, or given up, first.
        slow = daemon.get("vi", f"slow-{number}", namespace="hostile")
        assert slow["status"]["phase"] in ("Pending", "Provisioning")
        assert retry(slow) == 0
        daemon.delete("vi", f"slow-{number}", namespace="hostile")


def test_a_failed_import_waits_longer_each_time_also_over_a_crash(daemon: Hyperd, server: Moody) -> None:
    daemon.create(image("busy", server.url("busy")))
    daemon.create(image("broken", server.url("broken")))
    daemon.wait("vi", "busy", lambda found: retry(found) > 0, timeout=30)
    daemon.wait("vi", "broken", lambda found: retry(found) > 0, timeout=30)
    daemon.kill()
    daemon.start()
    daemon.wait("vi", "broken", lambda found: retry(found) >= 3, timeout=60)
    for path, least in (("busy", RETRY_AFTER_SECONDS), ("broken", 5)):
        times = server.asked(path)
        assert all(later - sooner >= least for sooner, later in itertools.pairwise(times)), path
    times = server.asked("broken")
    assert times[2] - times[1] >= 10
    for name in ("busy", "broken"):
        daemon.delete("vi", name)
        daemon.wait_gone("vi", name)


@pytest.mark.parametrize("length", [63, 200, 240, 250, 253])
def test_an_image_may_have_any_name_that_an_object_may_have(daemon: Hyperd, server: Moody, length: int) -> None:
    name = ("long-" + "n-a-" * 64)[:length].rstrip("-").ljust(length, "x")
    daemon.create(image(name, server.url("good/name")))
    daemon.create(cluster_image(name, server.url("good/name")))
    found = daemon.wait_phase("vi", name, "Ready")
    repository = found["status"]["target"]["registryURL"].split("/", 1)[1].rpartition(":")[0]
    assert len(repository) <= 255
    if len(name) <= 240:
        assert repository == f"vi/default/{name}"
    daemon.wait_phase("cvi", name, "Ready", namespace="")
    source = {"type": "HTTP", "http": {"url": server.url("good/name")}}
    daemon.create({**disk(name), "spec": {"dataSource": source}})
    daemon.wait_phase("vd", name, "Ready")
    for kind in ("vi", "cvi", "vd"):
        daemon.delete(kind, name)
        daemon.wait_gone(kind, name)
    assert "Traceback" not in daemon.log()


def test_progress_is_complete_when_the_image_is_ready_and_not_before(daemon: Hyperd, server: Moody) -> None:
    daemon.create(image("steady", server.url("steady")))
    seen: list[Object] = []

    def look(found: Object) -> bool:
        seen.append(found.get("status") or {})
        return bool(seen[-1].get("phase") == "Ready")

    daemon.wait("vi", "steady", look, timeout=60)
    under_way = [status for status in seen if status.get("phase") == "Provisioning"]
    assert len({status["progress"] for status in under_way}) > 2
    assert not [status for status in under_way if status["progress"].startswith("100")]
    assert seen[-1]["progress"] == "100%"
    assert all(status["cdrom"] is False for status in seen if status.get("phase"))
