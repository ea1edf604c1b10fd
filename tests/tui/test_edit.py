"""An object in the user's editor, from the terminal interface: seen before it is written."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hyperd.resources.all import VIRTUAL_MACHINE
from tests.tui.conftest import looking
from tests.tui.terminal import Screen
from tests.tui.world import World
from tests.unit.cli.conftest import environment
from tui.screens.confirm import DELIBERATE_SECONDS


async def size(world: World, name: str = "web-7") -> str:
    machine = (await world.store.get(VIRTUAL_MACHINE, "shop", name)).object()
    return str(machine["spec"]["memory"]["size"])


def editor(folder: Path, script: str) -> dict[str, str]:
    path = folder / "editor"
    path.write_text(script)
    return {"EDITOR": f"sh {path}"}


async def opened(screen: Screen) -> None:
    """The list, with the cursor on web-7."""
    await screen.shows("web-7")
    await screen.type(b"/web-7\r")
    await screen.shows("1 of 4")
    await screen.type(b"e")


async def test_what_an_editor_changed_is_shown_and_written_on_a_deliberate_enter(
    world: World, tmp_path: Path
) -> None:
    env = {**environment(world), **editor(tmp_path, "sed -i s/2Gi/4Gi/ $1")}
    async with Screen(env, "tui") as screen:
        await opened(screen)
        await screen.shows("Your change of web-7")
        await screen.shows("- 2Gi")
        await screen.shows("+ 4Gi")
        await screen.type(b"\r")
        assert await size(world) == "2Gi"
        await asyncio.sleep(DELIBERATE_SECONDS)
        await screen.type(b"\r")
        await screen.shows("web-7 is changed")
        assert await size(world) == "4Gi"
        await screen.type(b"q")
        assert await screen.ends() == 0
        assert screen.restored()


async def test_what_is_dropped_or_not_changed_is_not_written(world: World, tmp_path: Path) -> None:
    once = tmp_path / "once"
    script = f"if [ -e {once} ]; then exit 0; fi; touch {once}; sed -i s/2Gi/4Gi/ $1"
    async with Screen({**environment(world), **editor(tmp_path, script)}, "tui") as screen:
        await opened(screen)
        await screen.shows("Your change of web-7")
        await screen.type(b"\x1b")
        await screen.shows("web-7 is not changed")
        await screen.type(b"e")
        await screen.until(lambda: "Your change" not in screen.text)
        await screen.shows("web-7 is not changed")
        assert await size(world) == "2Gi"


async def test_a_refusal_is_told_in_the_editor_until_it_is_mended(world: World, tmp_path: Path) -> None:
    seen = tmp_path / "seen"
    script = (
        f"cat $1 >> {seen}\n"
        "if grep -q memry $1; then sed -i s/memry:/memory:/ $1; sed -i s/2Gi/8Gi/ $1; "
        "else sed -i s/memory:/memry:/ $1; fi\n"
    )
    async with Screen({**environment(world), **editor(tmp_path, script)}, "tui") as screen:
        await opened(screen)
        await screen.shows("+ 8Gi")
    assert '# ! unknown field "spec.memry"' in seen.read_text()


async def test_a_slip_in_yaml_is_told_in_the_editor_and_ctrl_c_is_the_editors(
    world: World, tmp_path: Path
) -> None:
    seen = tmp_path / "seen"
    script = (
        f"cat $1 >> {seen}\nif grep -q 'no YAML' $1; then sed -i 's/]4Gi/8Gi/' $1; exit; fi\n"
        "sed -i 's/2Gi/]4Gi/' $1; kill -INT $PPID; sleep 0.3\n"
    )
    async with Screen({**environment(world), **editor(tmp_path, script)}, "tui") as screen:
        await opened(screen)
        await screen.shows("+ 8Gi")
    assert "]4Gi" in seen.read_text()


async def test_an_event_is_not_edited_and_an_editor_that_is_not_there_is_said(world: World) -> None:
    async with looking(world) as ui:
        await ui.press("7")
        await ui.shows("Started")
        await ui.press("e")
        await ui.shows("edit does not apply")
    async with Screen({**environment(world), "EDITOR": "/nowhere/editor"}, "tui") as screen:
        await opened(screen)
        await screen.shows("cannot be run")
