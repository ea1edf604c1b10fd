"""``hv apply``: what it makes of manifests, of their faults, and of waiting."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
import yaml

from tests.tui.world import API, World
from tests.unit.cli.conftest import Hv
from tests.unit.client.test_wire import server

__all__ = ["server"]


MANIFEST = yaml.safe_dump(
    {"apiVersion": API, "kind": "VirtualDisk", "metadata": {"name": "data", "labels": {"app": "x"}},
     "spec": {"persistentVolumeClaim": {"size": "1Gi"}}}
)  # fmt: skip


async def test_apply_says_created_unchanged_and_configured(hv: Hv, world: World) -> None:
    assert (
        await hv("apply", "-f", "-", "--dry-run", stdin=MANIFEST)
    ).out == "virtualdisk/data created (dry run)\n"
    assert "data" not in await world.names("virtualdisks")
    assert (await hv("apply", "-f", "-", stdin=MANIFEST)).out == "virtualdisk/data created\n"
    assert (await hv("apply", "-f", "-", stdin=MANIFEST)).out == "virtualdisk/data unchanged\n"
    bigger = MANIFEST.replace("1Gi", "2Gi").replace("app: x", "tier: y")
    assert (await hv("apply", "-f", "-", stdin=bigger)).out == "virtualdisk/data configured\n"
    labels = json.loads((await hv("get", "vd", "data", "-o", "json")).out)["metadata"]["labels"]
    assert labels == {"tier": "y"}


async def test_apply_reads_folders_and_several_documents(hv: Hv, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(MANIFEST + "---\n" + MANIFEST.replace("name: data", "name: more"))
    (tmp_path / "b.json").write_text(json.dumps(yaml.safe_load(MANIFEST.replace("name: data", "name: third"))))
    out = (await hv("apply", "-f", str(tmp_path), "-n", "lab")).out
    assert out.split()[::2] == ["virtualdisk/data", "virtualdisk/more", "virtualdisk/third"]


@pytest.mark.parametrize(
    ("manifest", "sentence"),
    [
        ("a: [", "stdin:1:"),
        ("- 1", "not an object"),
        ("kind: VirtualDisk\nmetadata: {}\n", "without metadata.name"),
        ("kind: X\napiVersion: v9\nmetadata: {name: a}\n", 'no kind "X"'),
        (MANIFEST.replace("size", "seize"), "seize"),
        ("", "no object"),
    ],
)
async def test_a_bad_manifest_is_named_with_its_fault(hv: Hv, manifest: str, sentence: str) -> None:
    assert sentence in (await hv("apply", "-f", "-", stdin=manifest, code=1)).err


FAULTY = """\
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: VirtualDisk
metadata: {name: first}
spec:
  persistentVolumeClaim: {size: 1Gi}
---
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: VirtualMachine
metadata:
  name: web
  labels: {"a b": c}
spec:
  virtualMachineClassName: generic
  cpu: {cores: one}
  memry: {size: 1Gi}
  runPolicy: Sometimes
  blockDeviceRefs:
    - {kind: VirtualDisk, name: first}
    - {kind: VirtualTape, name: x}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: c}
data:
  a: 1
  b: x
---
apiVersion: virtualization.deckhouse.io/v1alpha2
kind: VirtualMachinePhantom
metadata: {name: p}
"""
FAULTS = [
    ("11:3", 'VirtualMachine web: metadata.labels: Invalid value: "a b"'),
    ("14:9", 'VirtualMachine web: spec.cpu.cores: Invalid value: "string": spec.cpu.cores in body must be'),
    ("15:3", "VirtualMachine web: spec.memry: unknown field"),
    ("12:1", "VirtualMachine web: spec.memory: Required value"),
    ("16:3", "VirtualMachine web: spec.runPolicy: Unsupported value"),
    ("19:8", "VirtualMachine web: spec.blockDeviceRefs[1].kind: Unsupported value"),
    ("25:3", "ConfigMap c: data.a: Invalid value: must be of type string"),
]


async def test_apply_tells_all_faults_of_all_manifests_with_their_places_and_changes_nothing(
    hv: Hv, world: World, tmp_path: Path
) -> None:
    good, _, phantom = FAULTY.rpartition("---\n")
    path = tmp_path / "m.yaml"
    path.write_text(good)
    err = (await hv("apply", "-f", str(path), code=1)).err
    lines = err.splitlines()
    assert lines[0] == f"hv: The manifests have {len(FAULTS)} faults; nothing was changed:"
    for place, sentence in FAULTS:
        assert any(line.startswith(f"{path}:{place}: {sentence}") for line in lines), (place, sentence, err)
    assert "first" not in await world.names("virtualdisks")
    # One that is refused alone is explained in the same way.
    second = good.split("---\n")[1]
    err = (await hv("apply", "-f", "-", stdin=second, code=1)).err
    assert "The manifests have 6 faults" in err
    assert "stdin:8:9: VirtualMachine web: spec.memry" not in err
    assert "stdin:9:3: VirtualMachine web: spec.memry: unknown field" in err
    # What cannot even be read, of every file.
    (tmp_path / "n.yaml").write_text("kind: VirtualDisk\n---\nmetadata: {name: 5}\n---\na: 1\na: 2\n---\n[\n")
    err = (await hv("apply", "-f", str(tmp_path), code=1)).err
    assert "The manifests have 11 faults" in err
    for place in ("1:1", "3:12", "5:1", "6:1", "9:1"):
        assert f"n.yaml:{place}: " in err, (place, err)
    # The schemas' faults of the others are told with it; what is required may be there already.
    for place, sentence in FAULTS:
        assert (f"{path}:{place}: {sentence}" in err) is ("Required" not in sentence), (place, sentence, err)
    assert 'the key "a" is there already' in err
    err = (await hv("apply", "-f", "-", stdin=f"{MANIFEST}---\n{phantom}", code=1)).err
    assert 'has no kind "VirtualMachinePhantom"' in err
    assert "data" not in await world.names("virtualdisks")


async def test_apply_takes_what_needs_something_that_comes_before_it(hv: Hv, world: World) -> None:
    namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: fresh}\n---\n"
    disk = MANIFEST.replace("name: data", "name: data\n  namespace: fresh")
    assert "virtualdisk/data created" in (await hv("apply", "-f", "-", stdin=namespace + disk)).out
    partial = (
        f"{MANIFEST}---\napiVersion: {API}\nkind: VirtualMachine\nmetadata: {{name: web-7, namespace: shop}}\n"
    )
    partial += "spec: {description: again}\n"
    err = (await hv("apply", "-f", "-", stdin=partial, code=1)).err
    assert "spec.description: unknown field" in err
    assert "Required" not in err


async def test_apply_waits_and_tells_how_far_it_is(hv: Hv, world: World) -> None:
    async def controller() -> None:
        while "data" not in await world.names("virtualdisks"):
            await asyncio.sleep(0.02)
        await world.set_status("virtualdisks", "default", "data", {"phase": "Provisioning", "progress": "40%"})
        await asyncio.sleep(0.3)
        await world.set_status("virtualdisks", "default", "data", {"phase": "Ready"})

    result, _ = await asyncio.gather(hv("apply", "-f", "-", "--wait", stdin=MANIFEST), controller())
    assert result.out.splitlines()[-1] == "virtualdisk/data Ready"
    assert "virtualdisk/data: Provisioning · 40 %" in result.err
