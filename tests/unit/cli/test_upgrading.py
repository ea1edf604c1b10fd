"""``hv upgrade``: what is older, what others have set, and nodes that are lost meanwhile."""

from __future__ import annotations

import time
from typing import Any

import pytest

from hyperd.cli.cluster import applying, bundle, lost, older
from hyperd.cli.cluster.rollout import Rollout
from hyperd.errors import Cause, Conflict

Object = dict[str, Any]
SELECTOR = {"app.kubernetes.io/name": "hyperd"}
OLD, NEW = "hash-1", "hash-2"


def of_image(image: str) -> Object:
    return {"metadata": {}, "spec": {"template": {"spec": {"containers": [{"name": "hyperd", "image": image}]}}}}


@pytest.mark.parametrize(
    ("have", "want"),
    [
        ("r.example.org:5000/hyperd:0.10.0", "hyperd:0.9.0"),
        ("hyperd:v1.2", "mirror/hyperd:v1.1.9"),
        ("hyperd:0.2.0-debian", "hyperd:0.1.9-debian"),
    ],
)
def test_an_image_whose_tag_says_that_it_is_older_is_refused(have: str, want: str) -> None:
    with pytest.raises(Conflict, match=f"The image {want} is older than {have}.*--downgrade"):
        older.refuse(of_image(have), of_image(want))
    older.refuse(of_image(want), of_image(have))


@pytest.mark.parametrize(
    ("have", "want"),
    [
        ("hyperd:0.2.0", "hyperd:latest"),
        ("hyperd:latest", "hyperd:0.2.0"),
        ("hyperd:7", "hyperd:6"),
        ("hyperd:0.2.0", "hyperd:0.2.0"),
        ("hyperd:0.2.0", "hyperd@sha256:00"),
        ("hyperd:0.2.0", "hyperd:0.1.0@sha256:00"),
        ("r.example.org:5000/hyperd", "r.example.org:4000.1/hyperd"),
    ],
)
def test_a_tag_that_says_no_version_is_taken_at_its_word(have: str, want: str) -> None:
    older.refuse(of_image(have), of_image(want))


def conflict(*messages: str) -> Conflict:
    causes = [Cause(".spec.x", message, "FieldManagerConflict") for message in messages]
    return Conflict("Apply failed with conflicts", causes=causes)


def test_who_has_set_a_field_otherwise_is_named_unless_it_was_hv() -> None:
    theirs = conflict('conflict with "kubectl-edit" using apps/v1 at 2026-01-01T00:00:00Z', "something new")
    assert applying.others(theirs) == [".spec.x: set by kubectl-edit", ".spec.x: something new"]
    ours = conflict('conflict with "hv" using v1', 'conflict with "kubectl-client-side-apply" using v1')
    assert applying.others(ours) == []


class Server:
    """A cluster with hyperd's DaemonSet, a Pod of it on each node, and what is written of it."""

    def __init__(self, pods: dict[str, str], down: dict[str, float]) -> None:
        """Node → revision of its Pod; node that is down → for how many seconds it says so."""
        self.room: object = 1
        self._pods = pods
        self._down = down
        self.written: list[int] = []

    def get(self, resource: object, namespace: str, name: str) -> Object:
        return {
            "metadata": {"name": name, "namespace": namespace, "uid": "u", "generation": 1},
            "spec": {
                "selector": {"matchLabels": SELECTOR},
                "updateStrategy": {"rollingUpdate": {"maxUnavailable": self.room}},
            },
            "status": {"desiredNumberScheduled": len(self._pods), "observedGeneration": 1},
        }

    def list(self, resource: object, namespace: str = "", **_: str) -> Object:
        owner = [{"uid": "u"}]
        if resource is bundle.REVISIONS:
            hashes = ({"controller-revision-hash": one} for one in (OLD, NEW))
            metadata = [{"ownerReferences": owner, "labels": labels} for labels in hashes]
            return {"items": [{"metadata": one, "revision": rank} for rank, one in enumerate(metadata)]}
        if resource is bundle.NODES:
            return {"items": [self._node(name) for name in self._pods]}
        return {"items": [
            {"metadata": {"name": node, "namespace": "x", "uid": node, "ownerReferences": owner,
                          "labels": {"controller-revision-hash": revision}},
             "spec": {"nodeName": node},
             "status": {"conditions": [{"type": "Ready", "status": str(node not in self._down)}]}}
            for node, revision in self._pods.items()
        ]}  # fmt: skip

    def _node(self, name: str) -> Object:
        since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - self._down.get(name, 0)))
        state = "Unknown" if name in self._down else "True"
        ready = {"type": "Ready", "status": state, "lastTransitionTime": since}
        return {"metadata": {"name": name}, "status": {"conditions": [ready]}}

    def patch(
        self, resource: object, namespace: str, name: str, patch: tuple[Object, Object], *, kind: str
    ) -> None:
        test, replace = patch
        assert test == {"op": "test", "path": "/metadata/uid", "value": "u"}
        assert replace["path"] == "/spec/updateStrategy/rollingUpdate/maxUnavailable"
        self.room = replace["value"]
        self.written.append(replace["value"])


def looked_at(server: Server, giving: lost.Giving) -> Rollout:
    seen = Rollout(server)  # type: ignore[arg-type]
    giving.look(seen)
    return seen


def giving_at(server: Server, lost_after: float = 300) -> lost.Giving:
    return lost.Giving(server, lost_after)  # type: ignore[arg-type]


def test_of_a_node_that_is_not_ready_it_is_said_that_it_holds_the_others_up() -> None:
    server = Server({"n1": NEW, "n2": OLD, "n3": OLD}, {"n3": 10})
    giving = giving_at(server)
    seen = looked_at(server, giving)
    assert seen.reasons() == ["n3: the node is not Ready, which holds the others up"]
    assert not seen.finished
    giving.end()
    assert server.written == []


def test_one_that_is_lost_for_long_gets_room_of_its_own_until_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server({"n1": OLD, "n2": OLD, "n3": OLD, "n4": OLD}, {"n3": 400, "n4": 10})
    giving = giving_at(server)
    for _ in range(3):
        looked_at(server, giving)
    assert server.written == [2]
    said = capsys.readouterr().err
    assert said.count("Node n3 has not been Ready for 6m") == 1
    assert "n4" not in said
    giving.end()
    assert server.written == [2, 1]


def test_what_was_given_is_not_taken_back_while_others_wait_for_it() -> None:
    pods, down = {"n1": OLD, "n2": OLD, "n3": OLD}, {"n3": 400.0}
    server = Server(pods, down)
    giving = giving_at(server)
    looked_at(server, giving)
    pods |= {"n1": NEW, "n2": NEW}
    assert looked_at(server, giving).finished
    assert server.written == [2]


def test_a_clock_that_is_wrong_does_not_keep_a_lost_node_from_being_seen() -> None:
    server = Server({"n1": OLD, "n2": OLD}, {"n2": -3600})
    giving = giving_at(server, lost_after=0)
    looked_at(server, giving)
    assert server.written == [2]


def test_a_share_of_the_nodes_is_left_as_it_is() -> None:
    server = Server({"n1": OLD, "n2": OLD}, {"n2": 400})
    server.room = "100%"
    giving = giving_at(server)
    looked_at(server, giving)
    giving.end()
    assert server.written == []
