"""What the commands print and do, against a real API server."""

from __future__ import annotations

import asyncio
import copy
import json
import os
from pathlib import Path

import pytest
import yaml

from hyperd.cli.main import main
from tests.tui.world import API, World, failing, machine
from tests.unit.cli.conftest import Hv
from tests.unit.client.test_wire import Server, server

__all__ = ["server"]
from tests.unit.cli.test_applying import MANIFEST


async def test_get_prints_the_server_s_table(hv: Hv) -> None:
    lines = (await hv("get", "vm", "-n", "shop")).out.splitlines()
    assert lines[0].split()[:2] == ["NAME", "PHASE"]
    assert [line.split()[:2] for line in lines[1:]] == [
        ["db-1", "Stopped"],
        ["web-7", "Running"],
        ["web-8", "Running"],
    ]


async def test_get_takes_kinds_by_any_name_and_all_namespaces(hv: Hv) -> None:
    for word in ("VirtualMachine", "virtualmachines", "vm", "virtualmachines.virtualization.deckhouse.io"):
        assert "web-7" in (await hv("get", word, "-A")).out
    out = (await hv("get", "vm,vi", "-A")).out
    assert "vm/web-7" in out
    assert "vi/debian-12" in out
    assert "lab" in out


async def test_a_kind_is_asked_for_in_the_version_to_prefer(hv: Hv, world: World) -> None:
    fractions = {"cores": {"min": 1, "max": 4}, "coreFractions": [5]}
    old = {
        "apiVersion": API,
        "kind": "VirtualMachineClass",
        "metadata": {"name": "small"},
        "spec": {"cpu": {"type": "Host"}, "sizingPolicies": [fractions]},
    }
    applied = await hv("apply", "-f", "-", stdin=yaml.safe_dump(old))
    assert "v1alpha2 VirtualMachineClass is deprecated; use " in applied.err
    got = await hv("get", "vmclass", "small", "-o", "yaml")
    assert got.err == ""
    read = yaml.safe_load(got.out)
    assert read["apiVersion"] == "virtualization.deckhouse.io/v1alpha3"
    assert read["spec"]["sizingPolicies"][0]["coreFractions"] == ["5%"]
    old_word = "virtualmachineclasses.v1alpha2.virtualization.deckhouse.io"
    got = await hv("get", old_word, "small", "-o", "yaml")
    assert yaml.safe_load(got.out)["spec"]["sizingPolicies"][0]["coreFractions"] == [5]
    assert "is deprecated" in got.err
    kinds = (await hv("get")).out
    assert "virtualization.deckhouse.io/v1alpha3" in next(
        line for line in kinds.splitlines() if line.startswith("virtualmachineclasses")
    )
    assert "virtualization.deckhouse.io/v1alpha2" in next(
        line for line in kinds.splitlines() if line.startswith("virtualmachines ")
    )


async def test_get_gives_yaml_json_and_names(hv: Hv) -> None:
    one = yaml.safe_load((await hv("get", "vm", "web-7", "-n", "shop", "-o", "yaml")).out)
    assert (one["kind"], one["metadata"]["name"]) == ("VirtualMachine", "web-7")
    assert "managedFields" not in one["metadata"]
    many = json.loads((await hv("get", "vm", "-n", "shop", "-o", "json")).out)
    assert [item["kind"] for item in many["items"]] == ["VirtualMachine"] * 3
    assert not any("managedFields" in item["metadata"] for item in many["items"])
    assert (await hv("get", "vm", "-o", "name", "-n", "shop")).out.split()[0] == "virtualmachine/db-1"


async def test_the_namespace_comes_from_flag_or_environment(hv: Hv, world: World) -> None:
    empty = await hv("get", "vm")
    assert (empty.out, empty.err) == ("", "No virtualmachines found in the namespace default.\n")
    hv.env["HV_NAMESPACE"] = "shop"
    assert "web-7" in (await hv("get", "vm", "--no-headers")).out


async def test_what_is_not_there_is_said_in_one_sentence(hv: Hv) -> None:
    missing = await hv("get", "vm", "nobody", code=1)
    assert missing.err.startswith("hv: ")
    assert "nobody" in missing.err
    assert missing.err.count("\n") == 1
    assert 'no kind "vmm"' in (await hv("get", "vmm", code=1)).err
    assert "did you mean `hv get`" in (await hv("gte", code=2)).err


async def test_nobody_is_asked_about_a_machine_that_is_not_there(hv: Hv) -> None:
    missing = await hv("stop", "nobody", stdin="y\n", code=1)
    assert "sure?" not in missing.err
    assert "not found" in missing.err
    assert "sure?" in (await hv("stop", "web-7", "-n", "shop", stdin="n\n")).err


async def test_the_terminal_interface_needs_a_terminal(hv: Hv) -> None:
    refused = await hv("tui", code=1)
    assert "needs a terminal" in refused.err
    assert refused.out == ""


async def test_doctor_looks_at_the_daemon_that_the_environment_names(hv: Hv, world: World) -> None:
    found = json.loads((await hv("doctor", "--json", code=None)).out)
    assert any(one["text"] == f"hyperd answers at {world.settings.socket_path}." for one in found)


async def test_describe_gives_each_label_a_line(hv: Hv, world: World) -> None:
    new = machine("ark", namespace="shop")
    new["metadata"]["labels"] = {"tier": "front", "app": "web"}
    await world.add("virtualmachines", new)
    out = (await hv("describe", "vm", "ark", "-n", "shop")).out
    assert "Labels:       app=web\n              tier=front\n" in out


async def test_a_daemon_that_is_away_is_said_with_what_to_do(hv: Hv) -> None:
    result = await hv("get", "vm", "--socket", "/nonexistent/x.sock", code=1)
    assert result.err.startswith("hv: hyperd does not run here")


async def test_hostile_text_in_an_object_does_not_reach_the_terminal(hv: Hv, world: World) -> None:
    evil = "\x1b]52;c;AAAA\x07\u202e"
    conditions = failing("Running", "NotRunning", evil)
    status = {"phase": "Running", "nodeName": evil, "ipAddress": evil, "conditions": conditions}
    await world.add("virtualmachines", machine("evil"), status)
    for arguments in (
        ("get", "vm", "-o", "wide"),
        ("describe", "vm", "evil"),
        ("get", "vm", "-o", "yaml"),
        ("get", "vm", "-o", "json"),
    ):
        out = (await hv(*arguments, "-n", "shop")).out
        assert "\x1b" not in out
        assert "\u202e" not in out


async def test_describe_shows_conditions_and_events(hv: Hv) -> None:
    out = (await hv("describe", "vm/web-7", "-n", "shop")).out
    assert "State:        ● Running" in out
    assert "AwaitingRestartToApplyConfiguration   True" in out
    assert "The machine runs" in out


async def test_describe_shows_what_stands_in_no_section(hv: Hv) -> None:
    class_ = "apiVersion: storage.k8s.io/v1\nkind: StorageClass\nmetadata: {name: fast}\nprovisioner: a.b/c\n"
    await hv("apply", "-f", "-", stdin=class_ + "allowVolumeExpansion: true\n")
    out = (await hv("describe", "sc", "fast")).out
    assert "provisioner: a.b/c" in out
    assert "allowVolumeExpansion: true" in out


async def test_delete_by_name_label_and_file(hv: Hv, world: World) -> None:
    await hv("apply", "-f", "-", stdin=MANIFEST)
    assert (await hv("delete", "-f", "-", stdin=MANIFEST)).out == "virtualdisk/data deleted\n"
    assert (await hv("delete", "vm", "db-1", "-n", "shop")).out == "virtualmachine/db-1 deleted\n"
    assert "db-1" not in await world.names("virtualmachines")
    assert "Name the objects" in (await hv("delete", "vm", code=1)).err
    nameless = MANIFEST.replace("name:", "generateName:")
    assert "has no name: say which is meant" in (await hv("delete", "-f", "-", stdin=nameless, code=1)).err
    await hv("delete", "vm", "nobody", "--ignore-not-found")


async def test_delete_waits_for_finalizers_and_says_who_holds(hv: Hv, world: World) -> None:
    held = machine("held")
    held["metadata"]["finalizers"] = ["example.io/keep"]
    await world.add("virtualmachines", held)
    result = await hv("delete", "vm", "held", "-n", "shop", "-t", "1", code=1)
    assert "held is still there" in result.err
    assert "example.io/keep" in result.err


async def test_stop_creates_an_operation_and_follows_it(hv: Hv, world: World) -> None:
    async def controller() -> str:
        while not (names := await world.names("virtualmachineoperations")):
            await asyncio.sleep(0.02)
        await world.set_status("virtualmachineoperations", "shop", names[0], {"phase": "InProgress"})
        await world.set_status("virtualmachineoperations", "shop", names[0], {"phase": "Completed"})
        return names[0]

    result, name = await asyncio.gather(hv("stop", "web-7.shop", "-y", "-w"), controller())
    assert name.startswith("web-7-")
    operation = f'VirtualMachineOperation "shop/{name}" completed.'
    assert result.out == f'VirtualMachine "shop/web-7" stopping. {operation}\n'


async def test_a_failed_operation_says_why_and_fails(hv: Hv, world: World) -> None:
    async def controller() -> None:
        while not (names := await world.names("virtualmachineoperations")):
            await asyncio.sleep(0.02)
        conditions = failing("Completed", "NotApplicable", "It runs already")
        status = {"phase": "Failed", "conditions": conditions}
        await world.set_status("virtualmachineoperations", "shop", names[0], status)

    result, _ = await asyncio.gather(hv("start", "web-7", "-n", "shop", code=1), controller())
    assert "It runs already" in result.err


async def test_without_an_answer_nothing_is_stopped(hv: Hv, world: World) -> None:
    result = await hv("stop", "web-7", "-n", "shop", code=1)
    assert "sure? [y/N]" in result.err
    assert "Nobody answered, so this is not done" in result.err
    assert await world.names("virtualmachineoperations") == []


async def test_watch_in_a_pipe_prints_each_change(hv: Hv, world: World) -> None:
    process = await asyncio.create_subprocess_exec(
        "python3", "-m", "hyperd.cli.main", "watch", "vm", "-n", "shop", env=hv.env, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(20):
        seen = [(await process.stdout.readline()).decode() for _ in range(4)]
        await world.set_status("virtualmachines", "shop", "db-1", {"phase": "Starting"})
        seen.append((await process.stdout.readline()).decode())
    process.terminate()
    await process.wait()
    assert seen[-1].split()[:2] == ["db-1", "Starting"]
    assert seen[-1].index("Starting") == seen[0].index("PHASE")


async def test_curl_speaks_to_the_api(hv: Hv) -> None:
    assert json.loads((await hv("curl", "/version")).out)["gitVersion"]
    refused = await hv("curl", "/apis/none/v1/x", code=1)
    assert json.loads(refused.out)["kind"] == "Status"


async def test_log_prints_what_the_console_said(hv: Hv) -> None:
    assert "Linux version" in (await hv("log", "web-7.shop")).out
    assert (await hv("log", "web-7", "-n", "shop", "--tail", "1")).out.endswith("ready\r\n")


def test_log_that_is_cut_off_is_no_whole_log(server: Server, capfd: pytest.CaptureFixture[str]) -> None:
    server.answers.append(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nab\n\r\n")
    assert main(["--socket", server.home.socket, "log", "web-7", "-f"]) == 1
    out, err = capfd.readouterr()
    assert out == "ab\n"
    assert "ended before the log did" in err


async def test_completion_knows_commands_kinds_names_and_flags(hv: Hv) -> None:
    async def words(*line: str) -> list[str]:
        return (await hv("__complete", str(len(line)), *line)).out.split()

    assert await words("des") == ["describe"]
    assert "vm" in await words("get", "v")
    assert await words("get", "vm", "-n", "shop", "web") == ["web-7", "web-8"]
    assert await words("console", "-n", "shop", "db") == ["db-1"]
    assert "lab" in await words("get", "vm", "-n", "")
    assert "--watch" in await words("get", "--w")
    for shell in ("bash", "zsh", "fish"):
        assert "__complete" in (await hv("completion", shell)).out


async def test_the_kubeconfig_beside_the_socket_counts_where_it_leads_to_the_same_objects(
    hv: Hv, world: World
) -> None:
    printed = yaml.safe_load((await hv("kubeconfig")).out)
    assert printed["clusters"][0]["cluster"]["server"].endswith(f":{world.server.port}")
    assert printed["users"][0]["name"] == "admin@hyperd"
    path = world.settings.kubeconfig_path
    path.write_text(path.read_text().replace(f":{world.server.port}", ":1"))
    assert "--file" in (await hv("kubeconfig", code=1)).err


async def test_objects_of_several_kinds_are_named_by_kind_and_name(hv: Hv, world: World) -> None:
    out = (await hv("get", "vm/web-7", "vd/web-7-root", "vm/web-8", "-n", "shop", "-o", "name")).out
    assert out.split() == ["virtualmachine/web-7", "virtualdisk/web-7-root", "virtualmachine/web-8"]
    assert "vd/web-7-root" in (await hv("get", "vm/web-7", "vd/web-7-root", "-n", "shop")).out
    listed = json.loads((await hv("get", "vm/web-7", "vd/web-7-root", "-n", "shop", "-o", "json")).out)
    assert [item["kind"] for item in listed["items"]] == ["VirtualMachine", "VirtualDisk"]
    out = (await hv("describe", "vm/web-7", "vd/web-7-root", "-n", "shop")).out
    assert "VirtualMachine (" in out
    assert "VirtualDisk (" in out
    assert '"web-8" is not kind/name' in (await hv("get", "vm/web-7", "web-8", "vd/x", code=1)).err
    await hv("delete", "vd/web-7-root", "vi/debian-12", "-n", "shop")
    assert "debian-12" not in await world.names("virtualimages")


async def test_waiting_ends_with_the_reason_where_nothing_can_come_by_itself(hv: Hv, world: World) -> None:
    new = yaml.safe_load(MANIFEST)
    new["metadata"] = {"name": "stuck", "namespace": "lab"}
    new["spec"]["dataSource"] = {"type": "ObjectRef", "objectRef": {"kind": "VirtualImage", "name": "broken"}}
    lost = copy.deepcopy(new)
    lost["metadata"]["name"], lost["spec"]["dataSource"]["objectRef"]["name"] = "lost", "nowhere"
    needy = machine("needy", namespace="lab")
    needy["spec"]["virtualMachineClassName"] = "no-such-class"
    # Each waits for some seconds in case that what it needs is made right after it.
    wait = ("apply", "-f", "-", "--wait", "--timeout", "60s")
    made = [hv(*wait, stdin=yaml.safe_dump(obj), code=1) for obj in (new, lost, needy)]
    failed = [result.err for result in await asyncio.gather(*made)]
    assert "cannot come by itself" in failed[0]
    assert "VirtualImage broken is Failed: The file is an HTML page" in failed[0]
    assert "needs VirtualImage nowhere, which does not exist" in failed[1]
    assert "needs VirtualMachineClass no-such-class, which does not exist" in failed[2]


async def test_a_machine_that_is_not_there_leaves_no_operation_behind(hv: Hv, world: World) -> None:
    for command in ("start", "stop", "restart"):
        assert "not found" in (await hv(command, "nosuch", "-y", code=1)).err
    assert await world.names("virtualmachineoperations") == []


async def test_kubeconfig_is_printed_and_merged(hv: Hv, world: World, tmp_path: Path) -> None:
    source = str(world.settings.kubeconfig_path)
    printed = yaml.safe_load((await hv("kubeconfig", "--file", source)).out)
    assert printed["clusters"][0]["cluster"]["server"].endswith(f":{world.server.port}")
    target = tmp_path / "config"
    await hv("kubeconfig", "--file", source, "--merge", "--kubeconfig", str(target))
    assert os.stat(target).st_mode & 0o777 == 0o600
    assert "web-7" in (await hv("get", "vm", "-n", "shop", "--kubeconfig", str(target))).out


async def test_a_closed_pipe_is_silent(hv: Hv) -> None:
    process = await asyncio.create_subprocess_shell(
        "python3 -m hyperd.cli.main get vm -A -o yaml | head -c 1", env=hv.env,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    _, err = await process.communicate()
    assert err == b""
