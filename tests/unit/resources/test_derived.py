"""What is derived from the kinds is current, and light where it must be."""

from __future__ import annotations

import subprocess
import sys

import pytest
import yaml

from hyperd.resources import crd
from hyperd.resources.all import KINDS
from hyperd.resources.index import INDEX
from hyperd.resources.kind import Kind

OURS = [kind for kind in KINDS if not kind.core]


def test_manifests_and_index_are_current() -> None:
    assert crd.stale_files() == []
    assert crd.main(["--check"]) == 0


def test_the_index_has_every_kind() -> None:
    assert {(entry.group, entry.plural, entry.short_names) for entry in INDEX} == {
        (kind.group, kind.plural, kind.short_names) for kind in KINDS
    }


@pytest.mark.parametrize(
    "module", ["index", "kind", "structural", "meta", "conditions", "quantity", "names", "unbuilt"]
)
def test_light_modules_do_without_pydantic(module: str) -> None:
    code = f"import sys, hyperd.resources.{module}; sys.exit('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("kind", OURS, ids=lambda kind: kind.kind)
def test_a_crd_has_what_a_kube_apiserver_wants(kind: Kind) -> None:
    obj = yaml.safe_load((crd.CRD_DIR / f"{kind.plural}.yaml").read_text())
    assert obj == crd.crd(kind)
    spec = obj["spec"]
    assert obj["metadata"]["name"] == f"{spec['names']['plural']}.{spec['group']}"
    version = spec["versions"][0]
    assert version["served"]
    assert version["storage"]
    assert version["subresources"].keys() == kind.subresources
    assert spec["scope"] == ("Namespaced" if kind.namespaced else "Cluster")
    for column in version["additionalPrinterColumns"]:
        assert column["jsonPath"].startswith(".")
        assert column["type"] in ("string", "integer", "number", "boolean", "date")


def test_a_stale_file_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crd, "CRD_DIR", crd.CRD_DIR / "elsewhere")
    assert len(crd.stale_files()) == len(OURS)
