"""What is derived from the kinds is current, and light where it must be."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from hyperd.resources import crd, view_source
from hyperd.resources.all import KINDS
from hyperd.resources.derived import ROOT, Derived
from hyperd.resources.index import INDEX
from hyperd.resources.schema.kind import Kind

OURS = [kind for kind in KINDS if not kind.core]


def test_manifests_and_index_are_current() -> None:
    assert crd.derived().stale() == []


def test_views_are_what_the_models_say() -> None:
    assert view_source.derived().stale() == []


def test_the_index_has_every_kind() -> None:
    assert {(entry.group, entry.plural, entry.short_names) for entry in INDEX} == {
        (kind.group, kind.plural, kind.short_names) for kind in KINDS
    }


@pytest.mark.parametrize(
    "module",
    [
        "index",
        "schema.kind",
        "schema.structural",
        "schema.unbuilt",
        "values.meta",
        "values.conditions",
        "values.quantity",
        "values.names",
    ],
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


def test_what_is_stale_is_noticed_and_mended(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path(os.path.relpath(tmp_path, ROOT))
    current, old, orphan, missing = (ROOT / folder / name for name in ("current", "old", "orphan", "new/missing"))
    for path in (current, old, orphan):
        path.write_text("text")
    derived = Derived("some.module", {current: "text", old: "newer", missing: "text"}, [current, old, orphan])
    assert derived.main(["--check"]) == 1
    told = capsys.readouterr().err
    assert all(f"{path.name} is stale: run python -m some.module" in told for path in (old, orphan, missing))
    assert old.read_text() == "text"
    assert derived.main([]) == 0
    assert (old.read_text(), missing.read_text(), orphan.exists()) == ("newer", "text", False)
