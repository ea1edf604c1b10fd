"""An inventory for Ansible, an archive for whoever is to help, and manual pages."""

from __future__ import annotations

import json
import os
import subprocess
import tarfile
from pathlib import Path

import yaml

from hyperd.cli.commands import COMMANDS
from hyperd.cli.man import page
from tests.tui.world import World, machine
from tests.unit.cli.conftest import Hv


async def _annotated(world: World, **annotations: str) -> None:
    new = machine("ans", namespace="shop")
    new["metadata"]["annotations"] = {
        **{f"vars.ansible.deckhouse.io/{name}": value for name, value in annotations.items()},
        "ansible.deckhouse.io/groups": "web, db,bad group,all",
    }
    await world.add("virtualmachines", new, {"phase": "Running", "ipAddress": "10.66.10.9"})


async def test_the_machines_that_run_are_ansible_s_hosts(hv: Hv, world: World) -> None:
    await _annotated(world, role="front end", ansible_user="admin")
    found = json.loads((await hv("ansible-inventory")).out)
    hosts = found["_meta"]["hostvars"]
    assert sorted(hosts) == ["ans.shop", "web-7.shop", "web-8.shop"]
    assert hosts["ans.shop"]["ansible_host"] == "10.66.10.9"
    assert (hosts["ans.shop"]["role"], hosts["ans.shop"]["ansible_user"]) == ("front end", "admin")
    assert "hv port-forward ans.shop --stdio %p" in hosts["ans.shop"]["ansible_ssh_common_args"]
    assert (found["web"]["hosts"], found["db"]["hosts"]) == (["ans.shop"], ["ans.shop"])
    assert found["ungrouped"]["hosts"] == ["web-7.shop", "web-8.shop"]
    assert json.loads((await hv("ansible-inventory", "-n", "lab")).out)["_meta"]["hostvars"] == {}
    one = json.loads((await hv("ansible-inventory", "--host", "ans.shop")).out)
    assert one == hosts["ans.shop"]
    as_yaml = yaml.safe_load((await hv("ansible-inventory", "-o", "yaml")).out)
    assert as_yaml["all"]["hosts"] == hosts
    ini = (await hv("ansible-inventory", "-o", "ini")).out.splitlines()
    assert any(line.startswith("ans.shop ansible_host=10.66.10.9 ") for line in ini)
    assert "[db]" in ini
    assert "does not run" in (await hv("ansible-inventory", "--host", "db-1.shop", code=1)).err


async def test_an_annotation_says_nothing_that_ansible_would_do_here(hv: Hv, world: World) -> None:
    evil = {
        "ansible_connection": "local", "ansible_ssh_executable": "/tmp/x", "ansible_host": "127.0.0.1",
        "ansible_ssh_common_args": "-o ProxyCommand=x", "x": "{{ lookup('pipe', 'id') }}", "y": "{% raw %}",
    }  # fmt: skip
    await _annotated(world, **evil)
    said = await hv("ansible-inventory", "--host", "ans.shop")
    assert sorted(json.loads(said.out)) == ["ansible_host", "ansible_ssh_common_args"]
    assert json.loads(said.out)["ansible_host"] == "10.66.10.9"
    assert said.err.count("is left out") == len(evil)


async def test_an_archive_holds_what_is_known_of_a_machine_and_no_secret(
    hv: Hv, world: World, tmp_path: Path
) -> None:
    new = machine("sad", provisioning={"type": "UserData", "userData": "#cloud-config\npassword: hunter2\n"})
    await world.add("virtualmachines", new, {"phase": "Pending"})
    out = tmp_path / "x.tar.gz"
    said = await hv("collect-debug-info", "sad.shop", "-o", str(out))
    assert "written" in said.out
    with tarfile.open(out) as archive:
        files = {one.name: archive.extractfile(one).read().decode() for one in archive}  # type: ignore[union-attr]
    assert "hunter2" not in "".join(files.values())
    assert "(left out)" in files["sad/virtualmachine-sad.yaml"]
    assert "Pending" in files["sad/why.txt"]
    assert {"sad/version.yaml"} <= files.keys()
    assert "File exists" in (await hv("collect-debug-info", "sad.shop", "-o", str(out), code=1)).err
    assert "not found" in (await hv("collect-debug-info", "nobody", code=1)).err
    with_events = tmp_path / "y.tar.gz"
    await hv("collect-debug-info", "web-7.shop", "-o", str(with_events))
    with tarfile.open(with_events) as archive:
        names = archive.getnames()
    assert {
        "web-7/virtualdisk-web-7-root.yaml",
        "web-7/events-virtualmachine-web-7.yaml",
        "web-7/console.log",
    } <= set(names)


async def test_manual_pages_say_what_the_commands_take(hv: Hv, tmp_path: Path) -> None:
    said = await hv("man", "--all", str(tmp_path))
    assert f"{len(COMMANDS) + 1} pages" in said.out
    assert sorted(name.removesuffix(".1") for name in os.listdir(tmp_path)) == sorted(
        ["hv", *(f"hv-{name}" for name in COMMANDS)]
    )
    assert "\\-\\-sort\\-by" in (await hv("man", "get")).out
    assert "There is no command nope" in (await hv("man", "nope", code=1)).err


def test_no_line_of_a_page_is_taken_for_roff_s_own() -> None:
    known = {".TH", ".SH", ".TP", ".B", ".I", ".nf", ".fi"}
    for command in ["", *COMMANDS]:
        text = page(command)
        assert {line.split()[0] for line in text.splitlines() if line.startswith((".", "'"))} <= known
        groff = subprocess.run(["sh", "-c", "command -v groff"], capture_output=True, check=False)
        if groff.returncode == 0 and command in ("get", "disk", ""):
            done = subprocess.run(
                ["groff", "-Kutf8", "-man", "-Tutf8", "-ww"],
                input=text,
                text=True,
                capture_output=True,
                check=True,
            )
            assert done.stderr == ""
