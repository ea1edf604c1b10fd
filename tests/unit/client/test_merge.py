"""Merging kubeconfigs: every way to a cluster that was there works afterwards as it did before."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from hyperd.client.kubeconfig import Kubeconfig, merge, renamed
from hyperd.errors import Conflict

HERE = "https://10.0.0.1:6480"


def config(name: str, *, ca: str, user: str = "", key: str = "key", server: str = HERE) -> dict[str, Any]:
    user = user or f"admin@{name}"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": name,
        "clusters": [{"name": name, "cluster": {"server": server, "certificate-authority-data": ca}}],
        "users": [{"name": user, "user": {"client-key-data": key, "client-certificate-data": key}}],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user, "namespace": "default"}}],
    }


def ways(*documents: dict[str, Any]) -> dict[str, Any]:
    """Each context with the cluster and the user that it leads to, as kubectl reads several files."""
    read = Kubeconfig()
    for document in documents:
        read.add(document, "")
    clusters, users = read.entries["clusters"], read.entries["users"]
    contexts = read.entries["contexts"].items()
    return {name: (clusters.get(body["cluster"]), users.get(body["user"])) for name, (body, _) in contexts}


KUBERNETES = config("kubernetes", ca="theirs", user="kubernetes-admin", server="https://10.9.9.9:6443")
SOMEBODY_S = config("prod", ca="prod", user="admin", server="https://prod:6443")
WITH_ITS_USER = {"name": "hyperd", "context": {"cluster": "x", "user": "admin@x"}}


@pytest.mark.parametrize(
    "there", [[{}], [KUBERNETES], [SOMEBODY_S, KUBERNETES], [KUBERNETES, SOMEBODY_S], [{}, KUBERNETES]]
)
def test_two_daemons_come_beside_real_clusters_and_all_lead_where_they_did(there: list[dict[str, Any]]) -> None:
    before = ways(*copy.deepcopy(there))
    first, *rest = there
    for new in (config("hyperd", ca="one"), config("edge", ca="two")):
        first = merge(first, new, rest)
        assert ways(first, *rest).items() >= before.items()
        assert ways(first, *rest)[new["current-context"]] == ways(new)[new["current-context"]]
    assert first["current-context"] == "edge"


def test_a_renewed_key_and_a_moved_port_of_the_same_daemon_replace_the_old() -> None:
    old = config("hyperd", ca="one")
    new = config("hyperd", ca="one", key="renewed", server="https://10.0.0.1:7000")
    assert ways(merge(old, new))["hyperd"] == ways(new)["hyperd"]


@pytest.mark.parametrize("second", [False, True])
@pytest.mark.parametrize(
    "foreign",
    [
        config("hyperd", ca="another node of the same name"),
        config("other", ca="theirs", user="admin@hyperd", key="their key"),
        {**config("x", ca="theirs"), "contexts": [WITH_ITS_USER]},
        {"users": [{"name": "admin@hyperd", "user": {"token": "of nobody knows what"}}]},
    ],
)
def test_what_is_another_s_is_refused_in_whichever_file_it_is(foreign: dict[str, Any], second: bool) -> None:
    files = [{}, foreign] if second else [foreign]
    before = copy.deepcopy(files)
    new = config("hyperd", ca="one")
    with pytest.raises(Conflict, match="--as NAME"):
        merge(files[0], new, files[1:])
    assert files == before
    merged = merge(files[0], renamed(new, "node-2"), files[1:])
    assert ways(merged)["node-2"] == ways(new)["hyperd"]
