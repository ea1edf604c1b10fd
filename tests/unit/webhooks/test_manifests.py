"""What is installed follows from the code, and is all that there is."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
import yaml

from hyperd import __version__
from hyperd.install import clusterroles, manifests
from hyperd.resources import all as all_kinds
from hyperd.resources.derived import ROOT
from hyperd.resources.kinds.virtual_machine_snapshot import SNAPSHOT_SECRET_TYPE
from hyperd.resources.schema.kind import Kind, Object
from hyperd.resources.values.names import (
    CA_SECRET,
    CLOUD_INIT_SECRET_TYPE,
    SYSPREP_SECRET_TYPE,
    SYSTEM_NAMESPACE,
    VMOP_RESTORE_ANNOTATION,
)


def rules(role: Object) -> dict[tuple[str, str], set[str]]:
    return {
        (group, resource): set(rule["verbs"])
        for rule in role["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def test_the_manifests_are_current() -> None:
    assert manifests.derived().stale() == []


def test_the_kustomization_lists_every_file() -> None:
    listed = yaml.safe_load((manifests.FOLDER / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(manifests.kustomized())
    files = {str(path.relative_to(manifests.FOLDER)) for path in manifests.FOLDER.rglob("*.yaml")}
    beside = {name for name in files if name.startswith("monitoring/")}
    assert files - beside == {*listed, "kustomization.yaml"}
    more = yaml.safe_load((manifests.FOLDER / "monitoring/kustomization.yaml").read_text())["resources"]
    assert beside == {f"monitoring/{name}" for name in (*more, "kustomization.yaml")}


def test_the_image_is_of_this_version() -> None:
    images = yaml.safe_load((manifests.FOLDER / "kustomization.yaml").read_text())["images"]
    assert images == [{"name": "hyperd", "newName": "hyperd", "newTag": __version__}]


def test_each_role_may_do_what_the_one_before_may() -> None:
    roles = clusterroles.for_people()
    assert [role["metadata"]["name"] for role in roles] == [
        "hyperd:viewer",
        "hyperd:privileged-user",
        "hyperd:editor",
        "hyperd:admin",
        "hyperd:cluster-editor",
        "hyperd:cluster-admin",
    ]
    for weaker, stronger in pairwise(roles):
        before, after = rules(weaker), rules(stronger)
        assert all(verbs <= after[key] for key, verbs in before.items())
        assert before != after


def test_who_reads_metrics_reads_nothing_else() -> None:
    assert clusterroles.for_metrics()["rules"] == [{"nonResourceURLs": ["/metrics"], "verbs": ["get"]}]


def test_nobody_gets_everything() -> None:
    for role in (*clusterroles.for_people(), *clusterroles.for_daemon()):
        for rule in role.get("rules", ()):
            assert "*" not in {*rule["apiGroups"], *rule["resources"], *rule["verbs"]}


@pytest.mark.parametrize("verb", ["create", "update", "patch", "delete"])
@pytest.mark.parametrize(
    "what",
    [
        ("", "nodes/status"),
        ("", "namespaces"),
        ("apiextensions.k8s.io", "customresourcedefinitions"),
        ("admissionregistration.k8s.io", "mutatingwebhookconfigurations"),
        ("rbac.authorization.k8s.io", "clusterroles"),
    ],
)
def test_the_daemon_writes_nothing_of_the_clusters_own_but_its_registrations(
    what: tuple[str, str], verb: str
) -> None:
    role = clusterroles.for_daemon()[0]
    for rule in role["rules"]:
        if what[0] in rule["apiGroups"] and what[1] in rule["resources"] and verb in rule["verbs"]:
            assert rule.get("resourceNames"), f"{verb} {what} of any name"


def test_nobody_follows_or_keeps_the_secrets_of_all() -> None:
    """A node reads one by name when a machine of its own needs it, and writes its own and its snapshots'."""
    for role in (*clusterroles.for_people(), *clusterroles.for_daemon()):
        verbs = {
            verb
            for rule in role.get("rules", ())
            if "secrets" in rule["resources"] and rule.get("resourceNames") != [CA_SECRET]
            for verb in rule["verbs"]
        }
        assert verbs <= {"get", "create", "delete"}, role["metadata"]["name"]
    role = clusterroles.for_daemon()[0]
    assert rules(role)["", "secrets"] == {"get", "create", "delete"}


def test_the_daemon_makes_no_secrets_that_tokens_are_put_into_and_removes_none_but_its_own() -> None:
    policy, binding = yaml.safe_load_all((ROOT / "manifests/secret-policy.yaml").read_text())
    assert binding["spec"]["policyName"] == policy["metadata"]["name"]
    (rule,) = policy["spec"]["matchConstraints"]["resourceRules"]
    assert (rule["operations"], rule["resources"]) == (["CREATE", "DELETE"], ["secrets"])
    making, removing = (set(re.findall("'([^']+)'", each["expression"])) for each in policy["spec"]["validations"])
    types = {CLOUD_INIT_SECRET_TYPE, SYSPREP_SECRET_TYPE}
    assert making == {"DELETE", SYSTEM_NAMESPACE, SNAPSHOT_SECRET_TYPE, *types}
    assert removing == {"DELETE", VMOP_RESTORE_ANNOTATION, *types}


def test_every_kind_that_is_followed_may_be_followed() -> None:
    """What controllers keep a copy of in a cluster is what the role lets them list and watch."""
    allowed = rules(clusterroles.for_daemon()[0])
    followed = set()
    for path in (ROOT / "hyperd" / "controllers").rglob("*.py"):
        followed |= set(re.findall(r"informer\((\w+)\)", path.read_text()))
    kinds = {name: kind for name, kind in vars(all_kinds).items() if isinstance(kind, Kind)}
    for name in followed & set(kinds):
        kind = kinds[name]
        assert {"list", "watch"} <= allowed[kind.group, kind.plural], name
    assert "SECRET" not in followed


def test_the_services_variables_do_not_reach_the_daemon() -> None:
    """Kubernetes makes HYPERD_API_PORT and others of the Service hyperd-api, which would be settings."""
    daemons = yaml.safe_load((ROOT / "manifests" / "daemonset.yaml").read_text())
    assert daemons["spec"]["template"]["spec"]["enableServiceLinks"] is False
