"""What ``hv install`` brings, and what it refuses before it changes anything."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pytest
import yaml

from hyperd import __version__
from hyperd.cli.cluster import applying, bundle, home, older, preflight
from hyperd.errors import BadRequest, Conflict
from hyperd.install.manifests import FOLDER
from tests.unit.cli.conftest import Hv

IMAGE = "registry.example.org/hyperd:9"


def test_all_of_the_manifests_are_brought_in_an_order_in_which_each_stands_on_what_is_there() -> None:
    objects = bundle.load(IMAGE)
    listed = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())["resources"]
    written = [one for name in listed for one in yaml.safe_load_all((FOLDER / name).read_text()) if one]
    assert sorted((one["kind"], one["metadata"]["name"]) for one in objects) == sorted(
        (one["kind"], one["metadata"]["name"]) for one in written
    )
    kinds = [one["kind"] for one in objects]
    assert kinds[0] == "Namespace"
    assert kinds[-1] == "DaemonSet"
    assert kinds.index("CustomResourceDefinition") < kinds.index("ClusterRole") < kinds.index("ClusterRoleBinding")
    for obj in objects:
        assert obj["metadata"]["labels"]["app.kubernetes.io/part-of"] == "hyperd"
        resource, namespace, _ = applying.place(obj)
        assert bool(namespace) is resource.namespaced


def test_the_image_is_wherever_the_daemons_need_it() -> None:
    daemons = bundle.daemons(bundle.load(IMAGE))
    spec = daemons["spec"]["template"]["spec"]
    assert {one["image"] for one in spec["initContainers"] + spec["containers"]} == {IMAGE}
    settings = {one["name"]: one.get("value") for one in spec["containers"][0]["env"]}
    assert settings["HYPERD_KUBERNETES__LAUNCHER_IMAGE"] == IMAGE
    assert bundle.image_of(daemons) == IMAGE
    assert bundle.version_of(daemons) == __version__


def test_it_is_what_kustomize_makes() -> None:
    """Of kustomize's grammar nothing is used that hv knows nothing of."""
    used = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
    assert set(used) == {"apiVersion", "kind", "images", "labels", "replacements", "resources"}
    assert used["labels"] == [{"pairs": {"app.kubernetes.io/part-of": "hyperd"}}]
    (replacement,) = used["replacements"]
    (target,) = replacement["targets"]
    assert len(target["fieldPaths"]) == 1


@pytest.mark.parametrize(
    ("version", "told"),
    [
        ({"major": "1", "minor": "29+"}, "is of Kubernetes 1.29; hyperd needs 1.30"),
        ({"major": "1", "minor": "30"}, ""),
        ({"major": "2", "minor": "0"}, ""),
        ({"major": "1", "minor": "x"}, ""),
        ({}, ""),
    ],
)
def test_an_old_cluster_is_told_so(version: dict[str, str], told: str) -> None:
    said = preflight.too_old(version)
    assert told in said
    assert bool(said) is bool(told)


def labelled(version: str) -> dict[str, Any]:
    return {"metadata": {"labels": {bundle.VERSION_LABEL: version} if version else {}}}


@pytest.mark.parametrize(
    ("have", "want"), [("0.10.0", "0.9.0"), ("1.0.0", "0.9.9"), ("0.1.0.1", "0.1.0"), ("0.2.0rc1", "0.1.0")]
)
def test_an_older_version_is_refused(have: str, want: str) -> None:
    with pytest.raises(Conflict, match=f"hyperd {have} is installed"):
        older.refuse(labelled(have), labelled(want))


@pytest.mark.parametrize(
    ("have", "want"), [("0.9.0", "0.10.0"), ("0.1.0", "0.1.0"), ("", "0.1.0"), ("x", "0.1.0")]
)
def test_a_newer_or_an_unknown_one_is_not(have: str, want: str) -> None:
    older.refuse(labelled(have), labelled(want))


def test_fields_of_two_owners_are_united() -> None:
    one: dict[str, Any] = {"f:spec": {"f:a": {}, "f:b": {"f:c": {}}}}
    other: dict[str, Any] = {"f:spec": {"f:b": {"f:d": {}}}, "f:data": {}}
    assert applying._united(one, other) == {"f:spec": {"f:a": {}, "f:b": {"f:c": {}, "f:d": {}}}, "f:data": {}}


def test_where_evictions_are_asked_stays_hyperds_own_secret() -> None:
    def hooks(path: str) -> dict[str, Any]:
        return {"webhooks": [{"name": "evictions.a", "clientConfig": {"service": {"path": path}}}]}

    assert applying._as_completed(hooks("/evict"), hooks("/evict/secret")) == hooks("/evict/secret")
    assert applying._as_completed(hooks("/evict"), hooks("/evil")) == hooks("/evict")
    assert applying._as_completed({"kind": "Service"}, {"kind": "Service"}) == {"kind": "Service"}


def test_settings_are_read_before_anything_is_done(tmp_path: Path) -> None:
    file = tmp_path / "hyperd.toml"
    file.write_text("[network]\nnat = true\n")
    made = bundle.settings(str(file))
    assert made["data"] == {"hyperd.toml": "[network]\nnat = true\n"}
    file.write_text("[network\n")
    with pytest.raises(BadRequest, match="are no TOML"):
        bundle.settings(str(file))


def test_one_machines_hyperd_is_no_cluster() -> None:
    flags = argparse.Namespace(socket="/run/hyperd.sock", kubeconfig="", context="", namespace="")
    with pytest.raises(BadRequest, match="name a cluster"):
        home.cluster_of(flags)


@pytest.mark.parametrize("command", ["install", "upgrade", "uninstall"])
async def test_without_a_kubeconfig_it_says_so(hv: Hv, command: str) -> None:
    said = (await hv(command, code=1)).err
    assert "There is no kubeconfig" in said
    assert "name one with --kubeconfig" in said
