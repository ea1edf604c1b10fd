"""Classes in both their versions, converted by hyperd on the API server's behalf."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from hyperd.resources.schema.kind import Object
from tests.cluster.controlplane.plane import document
from tests.cluster.installed.conftest import Installed

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]
GROUP = "virtualization.deckhouse.io"


def class_(name: str, version: str, policy: Object) -> str:
    return yaml.safe_dump(
        {
            "apiVersion": f"{GROUP}/{version}",
            "kind": "VirtualMachineClass",
            "metadata": {"name": name},
            "spec": {"cpu": {"type": "Host"}, "sizingPolicies": [{"cores": {"min": 1, "max": 4}, **policy}]},
        }
    )


def policy_of(installed: Installed, editor: Path, name: str, version: str) -> Object:
    text = installed.kubectl(editor, "get", f"virtualmachineclasses.{version}.{GROUP}", name, "-o", "json")
    obj = document(text)
    assert obj["apiVersion"] == f"{GROUP}/{version}"
    policy: Object = obj["spec"]["sizingPolicies"][0]
    return policy


def test_a_class_of_the_new_version_reads_as_both(installed: Installed, editor: Path) -> None:
    text = class_("new", "v1alpha3", {"coreFractions": ["5%", "50%"], "defaultCoreFraction": "50%"})
    installed.kubectl(editor, "apply", "-f", "-", stdin=text)
    assert policy_of(installed, editor, "new", "v1alpha3")["coreFractions"] == ["5%", "50%"]
    old = policy_of(installed, editor, "new", "v1alpha2")
    assert (old["coreFractions"], old["defaultCoreFraction"]) == ([5, 50], 50)


def test_a_class_of_the_old_version_reads_as_both(installed: Installed, editor: Path) -> None:
    text = class_("old", "v1alpha2", {"coreFractions": [10, 100], "defaultCoreFraction": 100})
    assert "v1alpha2 VirtualMachineClass is deprecated" in installed.kubectl(
        editor, "apply", "-f", "-", stdin=text
    )
    new = policy_of(installed, editor, "old", "v1alpha3")
    assert (new["coreFractions"], new["defaultCoreFraction"]) == (["10%", "100%"], "100%")


def test_lists_are_converted_as_well(installed: Installed, editor: Path) -> None:
    for name in ("one", "two"):
        text = class_(name, "v1alpha2", {"coreFractions": [20]})
        installed.kubectl(editor, "apply", "-f", "-", stdin=text)
    text = installed.kubectl(editor, "get", f"virtualmachineclasses.v1alpha3.{GROUP}", "-o", "json")
    listed = {item["metadata"]["name"]: item for item in document(text)["items"]}
    for name in ("one", "two"):
        assert listed[name]["apiVersion"] == f"{GROUP}/v1alpha3"
        assert listed[name]["spec"]["sizingPolicies"][0]["coreFractions"] == ["20%"]


def test_rules_judge_the_new_version_too(installed: Installed, editor: Path) -> None:
    text = class_("odd", "v1alpha3", {"coreFractions": ["5%"], "defaultCoreFraction": "20%"})
    said = installed.kubectl(editor, "apply", "-f", "-", stdin=text, rc=1)
    assert "spec.sizingPolicies[0].defaultCoreFraction" in said
    assert "20: must be one of coreFractions: 5" in said
