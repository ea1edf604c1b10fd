"""What a user sets: keys, columns, commands, themes, read-only, plain; and the view as a file."""

from __future__ import annotations

import asyncio
import csv
import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from hyperd.client import remotes
from hyperd.errors import BadRequest, Conflict
from tests.tui.conftest import Ui
from tests.tui.terminal import Screen
from tests.tui.world import World
from tests.unit.cli.conftest import environment
from tui import config, configured, export, kinds
from tui.action import Target
from tui.app import HvApp
from tui.screens.naming import READ_ONLY, refusal
from tui.shelf import Key
from tui.usage import Course

SIZES = [(80, 24), (100, 30), (160, 45)]


@asynccontextmanager
async def set_up(world: World, size: tuple[int, int] = (120, 40), **said: Any) -> AsyncIterator[Ui]:
    app = HvApp([world.home], config=config.read(said))
    async with app.run_test(size=size) as pilot:
        yield Ui(app, pilot)


async def test_keys_are_the_user_s_and_taken_from_what_had_them(world: World) -> None:
    async with set_up(world, keys={"why": "s", "stop": ""}) as ui:
        await ui.row("test")
        await ui.press("s")
        await ui.shows("go to the root")
        await ui.press("escape")
        assert (ui.app.main.actions["why"].key_label, ui.app.main.actions["start"].key) == ("s", "")
        assert "start" not in ui.lines[-1], "what has no key is not among the keys"


@pytest.mark.parametrize("size", SIZES)
async def test_columns_are_the_user_s_too(world: World, size: tuple[int, int]) -> None:
    columns = {
        "vm": ["NAME", "STATE", "class=.spec.virtualMachineClassName"],
        "VMCLASS": ["NAME", ".metadata.uid"],
    }
    async with set_up(world, size, columns=columns) as ui:
        await ui.shows("web-7", "CLASS")
        assert "generic" in ui.line("web-8 ")
        assert "MEMORY" not in ui.line("NAME")
        await ui.press("colon")
        await ui.type("sort class")
        await ui.press("enter")
        await ui.shows("CLASS↑")


async def test_a_command_of_the_user_s_gets_fields_of_the_object_as_words(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    command = {
        "name": "note", "key": "N", "kinds": ["vm"], "wait": False,
        "run": f"sh -c 'printf \"%s\\n\" \"$@\" \"$HV_WHERE\" > {out}' - {{name}} at={{.status.ipAddress}}",
        "env": {"HV_WHERE": "{namespace} $(id){.status.none}"},
    }  # fmt: skip

    async def hand_over(_: object, call: Any) -> Any:
        return await asyncio.to_thread(call)

    async with set_up(world, commands=[command]) as ui:
        monkeypatch.setattr("tui.screens.consoles.hand_over", hand_over)
        await ui.row("web-7")
        await ui.press("N")
        await ui.shows("note ended with 0")
        assert out.read_text() == "web-7\nat=10.66.10.7\nshop $(id)\n"
        await ui.row("db-1")
        await ui.press("N")
        await ui.shows("db-1 has no .status.ipAddress")
        await ui.press("2", "N")
        await ui.shows("not for disks")


@pytest.mark.parametrize(
    "said",
    ["-oProxyCommand=x", "a\nb", "a\x1b[31m", "1.1.1.1;reboot", "$(reboot)", "`reboot`", "a b", "a'b", 'a"b',
     "@/etc/shadow", "+!reboot", "a&b", "a|b", "a>b", "~root", "x=y", "\u0430", "*"],
)  # fmt: skip
@pytest.mark.parametrize(
    "run", ["ping {.status.ip}", "sh -c 'ping {.status.ip}'", "ssh edge ping -c1 {.status.ip}"]
)
def test_what_a_field_says_is_no_flag_and_nothing_to_a_shell(said: str, run: str) -> None:
    command = config.read({"commands": [{"name": "x", "run": run, "env": {"HV_IP": "{.status.ip}"}}]}).commands[0]
    kind = kinds.load()["virtualmachines"]
    target = Target(kind, Key("h", "n", "web"), {"kind": "VirtualMachine", "status": {"ip": said}})
    with pytest.raises(BadRequest, match="nothing to give to a program"):
        configured.filled(command, target)
    if said.isprintable():
        assert configured.variables(command, target) == {
            "HV_NAME": "web", "HV_NAMESPACE": "n", "HV_HOME": "h", "HV_KIND": "VirtualMachine", "HV_IP": said,
        }  # fmt: skip
    else:
        with pytest.raises(BadRequest, match="nothing to give to a program"):
            configured.variables(command, target)


@pytest.mark.parametrize("said", ["10.66.10.7", "fe80::1", "root@web.shop", "/dev/vda", "a+b-c_d"])
def test_what_a_field_says_is_given_as_it_is(said: str) -> None:
    command = config.read({"commands": [{"name": "x", "run": "sh -c 'ping {.status.ip}' {name};"}]}).commands[0]
    kind = kinds.load()["virtualmachines"]
    target = Target(kind, Key("h", "n", "web"), {"kind": "VirtualMachine", "status": {"ip": said}})
    assert configured.filled(command, target) == ["sh", "-c", f"ping {said}", "web;"]


@pytest.mark.parametrize("size", SIZES)
async def test_read_only_offers_nothing_that_changes_anything(world: World, size: tuple[int, int]) -> None:
    async with set_up(world, size, read_only=True) as ui:
        await ui.row("web-7")
        assert " RO" in ui.line("hv ")
        for key in ("x", "e", "ctrl+d", "c", "plus", "T"):
            await ui.press(key)
            await ui.shows("does not apply: hv tui was opened read-only")
            ui.app.main.news.text = ""
        refused = {action.id for action in ui.app.main.actions if ui.app.main.why_not(action)}
        assert refused >= {"stop", "start", "restart", "delete", "create", "edit", "snapshot", "restore", "attach"}
        assert not refused & {"why", "related", "yaml", "export", "homes", "copy"}


async def test_read_only_changes_nothing_by_other_ways_either(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    await asyncio.to_thread(remotes.add, remotes.Remote("edge", place=str(tmp_path / "none.sock")))
    async with set_up(world, read_only=True) as ui:
        await ui.row("web-7")
        main = ui.app.main
        assert main.target is not None
        for many in (1, 2, 51, 500):
            assert refusal(main, main.actions["stop"], [main.target] * many) == READ_ONLY
        await ui.press("a")
        await ui.shows("ubuntu-24", "x cancel")
        await ui.press("x")
        await ui.shows(f"nothing is cancelled: {READ_ONLY}")
        await ui.press("escape", "H")
        for key in ("a", "d"):
            main.news.text = ""
            await ui.press(key)
            await ui.until(lambda: READ_ONLY in main.news.text, key)
        await ui.press("escape", "tab", "tab", "tab", "enter")
        await ui.shows("not connected · c opens the console")
        main.news.text = ""
        await ui.press("c")
        await ui.shows(f"console does not apply: {READ_ONLY}")
        assert world.guests["web-7"].typed == b""
    assert list(await asyncio.to_thread(remotes.load)) == ["edge"]
    assert "ubuntu-24" in await world.names("virtualimages")


@pytest.mark.parametrize("size", SIZES)
async def test_a_plain_screen_is_ascii_without_colours(world: World, size: tuple[int, int]) -> None:
    async with set_up(world, size, plain=True) as ui:
        await ui.row("web-7")
        await ui.press("question_mark", "escape", "H", "escape")
        await ui.shows("* Running", "! Pending")
        filters = ui.app.get_line_filters()
        for y in range(size[1]):
            for strip in [ui.app.screen._compositor.render_strips()[y]]:
                shown = strip.apply_filter(filters[-1], ui.app.screen.background_colors[1])
                assert shown.text.isascii(), shown.text


async def test_plain_reaches_the_terminal(world: World) -> None:
    async with Screen(environment(world), "tui", "--plain", "-n", "shop") as screen:
        await screen.shows("* Running")
        screen.written = b""
        await screen.type(b"j?")
        await screen.shows("Esc closes")
        assert screen.written.isascii()
        await screen.type(b"\x1b")
        await screen.until(lambda: "Esc closes" not in screen.text)
        await screen.type(b"q")
        assert await screen.ends() == 0


async def test_a_slow_line_gets_what_changed_in_a_second_at_once(world: World) -> None:
    env = environment(world)
    async with Screen(env, "tui", "--low-bandwidth") as screen:
        await screen.shows("web-7")
        began = time.monotonic()
        for phase in ("Degraded", "Running", "Degraded", "Running", "Degraded"):
            await world.set_status("virtualmachines", "shop", "web-7", {"phase": phase})
            await asyncio.sleep(0.15)
        await screen.shows("Degraded")
        assert time.monotonic() - began > 0.75
        assert screen.written.decode("utf-8", "replace").count("Degraded") <= 4  # in the list and in the details
        await screen.type(b"q")
        assert await screen.ends() == 0


@pytest.mark.parametrize("theme", ["dark", "light", "terminal", "terminal-light", "nord"])
async def test_themes_have_names_of_ours_and_of_textual_s(world: World, theme: str) -> None:
    async with set_up(world, theme=theme) as ui:
        await ui.shows("web-7")
        assert ui.app.native_ansi_color is theme.startswith("terminal")


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"themes": 1}, "has no themes"), ({"low_bandwidth": 1}, "low_bandwidth must be true or false"),
        ({"theme": 1}, "theme must be a text"), ({"theme": "no"}, "no theme no"),
        ({"keys": {"stopp": "x"}}, "did you mean stop"), ({"keys": []}, "keys must be a table"),
        ({"columns": {"vm": ["NOPE"]}}, "has no NOPE; it has NAME"), ({"columns": {"vm": []}}, "at least one"),
        ({"commands": [{"name": "a"}]}, "does not say what to run"),
        ({"commands": {}}, r"written as \[\[commands"),
        ({"commands": [{"name": "A b", "run": "x"}]}, "no name of a command"),
        ({"commands": [{"name": "a", "run": "'"}]}, "cannot be run"),
        ({"commands": [{"name": "a", "run": "{.metadata.annotations.run} x"}]}, "must say itself which program"),
        ({"commands": [{"name": "a", "run": "x", "env": {"LD_PRELOAD": "{name}"}}]}, "like HV_URL only"),
        ({"commands": [{"name": "a", "run": "x", "kinds": ["zz"]}]}, "which is no kind"),
        ({"commands": [{"name": "a", "run": "x", "shell": True}]}, "has no shell"),
    ],
)  # fmt: skip
async def test_what_cannot_be_set_is_named(world: World, said: dict[str, Any], why: str) -> None:
    with pytest.raises(BadRequest, match=why):
        HvApp([world.home], config=config.read(said))


async def test_a_file_that_cannot_be_read_ends_hv_with_its_name(world: World) -> None:
    env = environment(world)
    file = config.path(env)
    file.parent.mkdir(parents=True)
    file.write_text("theme = [")
    async with Screen(env, "tui") as screen:
        await screen.process.wait()
        screen._read()
        assert f"hv: {file} is not TOML" in screen.text.replace("\n", "")


async def test_the_view_is_written_to_a_file_as_it_is_shown(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with set_up(world) as ui:
        await ui.shows("web-7")
        ui.app.main.filter("web")
        for name in ("a.csv", "a.json", "a.yaml"):
            ui.app.main.perform("export", [name])
            await ui.shows(f"2 machines are written to {name}")
        ui.app.main.perform("export", ["a.csv"])
        await ui.shows("nothing is written over it")
        ui.app.main.perform("export", ["a.txt"])
        await ui.shows("must end in .csv")
        await ui.press("ctrl+s")
        await ui.shows("are written to hv-virtualmachines-")
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert [row["NAME"] for row in rows] == ["web-7", "web-8"]
    assert rows[0]["AGE"].startswith("20")
    assert len(json.loads((tmp_path / "a.json").read_text())["items"]) == 2
    assert [one["metadata"]["name"] for one in yaml.safe_load_all((tmp_path / "a.yaml").read_text())] == [
        "web-7",
        "web-8",
    ]


def test_no_cell_is_a_formula_or_a_word_to_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    rows: list[tuple[object, object]] = [
        ("=cmd|x", 0.0),
        (-3, None),
        ("\x1b]0;x\x07\n\u202eb", None),
        ("\t=1", None),
    ]
    export.write(path, ["=A", "\x1b[2J"], [False, True], rows, [])
    assert path.read_text() == (
        "'=A,\u241b[2J\n'=cmd|x,1970-01-01T00:00:00Z\n-3,\n\u241b]0;x\u2407 \ufffdb,\n'=1,\n"
    )
    with pytest.raises(Conflict):
        export.write(path, [], [], [], [])


@pytest.mark.parametrize("form", export.FORMS)
def test_an_export_is_for_nobody_else(tmp_path: Path, form: str) -> None:
    path = tmp_path / f"x{form}"
    before = os.umask(0o022)
    try:
        export.write(path, ["A"], [False], [("a",)], [{"kind": "X", "metadata": {"name": "\x1b[2J\u202e"}}])
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600
    assert not {"\x1b", "\u202e"} & set(path.read_text())


def test_an_hour_is_kept_in_bars_of_some_minutes() -> None:
    course = Course()
    for second in range(0, 7200, 2):
        course.add((int(second * 1e9), int(second * 1e9 / 2), 0, 1, 1 << 30, 1 << 29, 0, 0, 0, 0, 0, 0, 0))
    assert len(course.hour) == 24
    assert course.hour[-1].cpu == pytest.approx(0.5)
