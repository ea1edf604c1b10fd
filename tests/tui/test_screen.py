"""What a user sees and does, on a real API server."""

from __future__ import annotations

import asyncio
import contextlib
import re

import pytest
from textual import events

from hyperd.client import aio
from hyperd.client.home import local
from tests.tui.conftest import Ui, looking
from tests.tui.world import World, machine, serving, short_folder
from tui import actions, kinds, pulse
from tui.app import HvApp
from tui.screens import confirm


async def test_the_list_shows_machines_with_state_size_and_address(world: World) -> None:
    async with looking(world, size=(160, 40)) as ui:
        await ui.shows("web-7", "db-1")
        assert "● Running" in ui.line("web-7 ")
        await ui.press("escape")
        await ui.shows(" n1 ")
        assert ui.line("web-7 ").split()[-7:-1] == ["2", "2Gi", "10.66.10.7", "restart", "n1", "5h"]
        assert "○ Stopped" in ui.line("db-1")


async def test_a_row_that_is_not_well_says_why_in_the_row(world: World) -> None:
    async with looking(world) as ui:
        await ui.shows("▲ Pending", "Waiting for VirtualDisk test-root: its image imports")
        await ui.press("3")
        await ui.shows("37.2 % · 84Mi/s", "The file is an HTML page, not a disk image")


@pytest.mark.parametrize("size", [(80, 24), (100, 30), (160, 45), (240, 67), (40, 12)])
async def test_it_is_usable_in_any_size(world: World, size: tuple[int, int]) -> None:
    async with looking(world, size=size) as ui:
        await ui.shows("web-7", "STATE")
        assert all(len(line) <= size[0] for line in ui.lines)
        if size[0] >= 80:
            header = ui.line("STATE")
            assert all(title in header for title in ("NAME", "CPU%", "MEM%", "ADDRESS"))


async def test_every_kind_is_opened_by_its_digit_or_its_word(world: World) -> None:
    async with looking(world) as ui:
        await ui.shows("web-7")
        every = await asyncio.to_thread(kinds.load)
        assert {kind.digit for kind in every} >= set("123456789")
        for kind in every:
            if kind.digit:
                await ui.press(kind.digit)
            else:
                await ui.type(f":{kind.words[0]}")
                await ui.press("enter")
            await ui.shows(f"\n {kind.title}   ")
        await ui.type(":vd")
        await ui.press("enter")
        await ui.shows("disks", "web-7-root")


async def test_changes_arrive_without_asking(world: World) -> None:
    async with looking(world) as ui:
        await ui.shows("web-7")
        await world.set_status("virtualmachines", "shop", "db-1", {"phase": "Starting"})
        await ui.until(lambda: "◐ Starting" in ui.line("db-1"))
        await world.add("virtualmachines", machine("brand-new"), {"phase": "Pending"})
        await ui.shows("brand-new")
        await world.remove("virtualmachines", "shop", "brand-new")
        await ui.until(lambda: "brand-new" not in ui.text)


async def test_the_cursor_stays_on_its_row_when_others_come(world: World) -> None:
    async with looking(world) as ui:
        await ui.row("web-7")
        await world.add("virtualmachines", machine("aaa"), {"phase": "Stopped"})
        await ui.shows("aaa")
        assert ui.line("web-7 ").startswith("▌")


async def test_a_filter_narrows_while_it_is_typed_and_esc_drops_it(world: World) -> None:
    async with looking(world, size=(100, 30)) as ui:
        await ui.shows("web-7", "db-1")
        await ui.press("slash")
        await ui.type("web !8")
        await ui.until(lambda: "db-1" not in ui.text and "web-8" not in ui.text)
        await ui.shows("web-7", "1 of 4")
        await ui.press("enter", "down", "escape")
        await ui.shows("db-1")
        await ui.press("slash")
        await ui.type("zzz")
        await ui.shows("No row has “zzz”.")


async def test_a_command_that_comes_in_one_burst_is_a_command(world: World) -> None:
    async with looking(world) as ui:
        await ui.row("web-7")
        burst = [("colon", ":"), *((key, key) for key in "vdx"), ("backspace", None), ("enter", "\r")]
        for key, character in burst:
            ui.app.post_message(events.Key(key, character))
        await ui.shows("disks", "db-1-root")
        assert "Stop web-7" not in ui.text
        assert await world.names("virtualmachineoperations") == []


async def test_a_namespace_can_be_chosen(world: World) -> None:
    async with looking(world, size=(100, 30)) as ui:
        await ui.shows("web-7", "test")
        await ui.type(":ns lab")
        await ui.press("enter")
        await ui.until(lambda: "web-7" not in ui.text)
        await ui.shows("ns lab", "test")
        await ui.type(":ns")
        await ui.press("enter")
        await ui.shows("ns all", "web-7")


async def test_the_detail_has_an_overview_yaml_and_events(world: World) -> None:
    async with looking(world) as ui:
        await ui.row("web-7")
        await ui.shows("VirtualDisk/web-7-root", "needed for memory.size: 2Gi → 4Gi")
        await ui.press("y")
        await ui.shows("apiVersion: virtualization.deckhouse.io/v1alpha2", "coreFraction: 100%")
        await ui.press("E")
        await ui.shows("The machine runs", "memory.size waits")
        await ui.press("tab", "tab")
        await ui.shows("policy     AlwaysOnUnlessStoppedManually")


async def test_what_waits_for_a_restart_is_told_whole_on_a_narrow_screen(world: World) -> None:
    change = {
        "operation": "replace",
        "path": "blockDeviceRefs.0",
        "currentValue": {"kind": "VirtualDisk", "name": "root-of-the-old-days"},
        "desiredValue": {"kind": "VirtualDisk", "name": "root-of-tomorrow"},
    }
    await world.machine("ark", restartAwaitingChanges=[change])
    async with looking(world, size=(80, 30)) as ui:
        await ui.row("ark")
        await ui.press("enter")
        await ui.shows(
            "needed for blockDeviceRefs.0: VirtualDisk/root-of-the-old-days", "VirtualDisk/root-of-tomorrow"
        )


async def test_a_small_screen_opens_the_detail_on_enter_and_closes_it_on_esc(world: World) -> None:
    async with looking(world, size=(80, 24)) as ui:
        await ui.row("web-7")
        assert "Overview" not in ui.text
        await ui.press("enter")
        await ui.shows("Overview", "address    10.66.10.7")
        await ui.press("escape")
        await ui.until(lambda: "Overview" not in ui.text)


async def test_stop_asks_first_and_creates_an_operation(world: World) -> None:
    async with looking(world) as ui:
        await ui.row("web-8")
        await ui.press("x")
        await ui.shows("Stop web-8 (shop)?")
        await ui.press("n")
        await ui.until(lambda: "Stop web-8" not in ui.text)
        await ui.press("x")
        await ui.shows("Stop web-8 (shop)?")
        await ui.pilot.pause(0.6)
        await ui.press("y")
        await ui.shows("Stop of web-8 asked for")
        (name,) = await world.names("virtualmachineoperations")
        conditions = [
            {"type": "Completed", "status": "False", "reason": "R", "message": "The guest does not answer",
             "lastTransitionTime": "2026-01-01T00:00:00Z"}
        ]  # fmt: skip
        status = {"phase": "Failed", "conditions": conditions}
        await world.set_status("virtualmachineoperations", "shop", name, status)
        await ui.shows("Stop of web-8: The guest does not answer")


async def test_what_is_stopped_is_what_was_asked_about(world: World) -> None:
    async with looking(world) as ui:
        await ui.row("web-8")
        await ui.press("x")
        await ui.shows("Stop web-8 (shop)?")
        await world.remove("virtualmachines", "shop", "web-8")
        machines = ui.app.fleet.objects("virtualmachines")
        await ui.until(lambda: "web-8" not in {key.name for key in machines})
        await ui.pilot.pause(0.6)
        await ui.press("y")
        await ui.until(lambda: "web-8 asked for" in ui.text)
        (name,) = await world.names("virtualmachineoperations")
        assert name.startswith("web-8-")


async def test_a_hasty_yes_destroys_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confirm, "DELIBERATE_SECONDS", 60.0)
    async with looking(world) as ui:
        await ui.row("db-1")
        await ui.press("ctrl+d", "y")
        await ui.shows("Delete VirtualMachine db-1 (shop)?")
        await ui.press("escape")
        assert "db-1" in await world.names("virtualmachines")


async def test_delete_removes_after_a_deliberate_yes(world: World) -> None:
    async with looking(world) as ui:
        await ui.row("db-1")
        await ui.press("ctrl+d")
        await ui.shows("Its disks stay.")
        await ui.pilot.pause(0.6)
        await ui.press("y")
        await ui.until(lambda: not ui.line("○ Stopped"))
        assert "db-1" not in await world.names("virtualmachines")


async def test_start_needs_no_question(world: World) -> None:
    async with looking(world) as ui:
        await ui.row("db-1")
        await ui.press("s")
        await ui.shows("Start of db-1 asked for")


async def test_what_does_not_apply_says_why(world: World) -> None:
    async with looking(world) as ui:
        await ui.row("db-1")
        await ui.press("c")
        await ui.shows("console does not apply: db-1 is Stopped")
        await ui.type(":nonsense")
        await ui.press("enter")
        await ui.shows("no command nonsense")


async def test_first_contact_says_what_to_do(empty_world: World) -> None:
    async with looking(empty_world) as ui:
        await ui.shows("There is no machine here yet.", "hv apply -f machine.yaml --wait", "? all the keys")


async def test_help_is_written_from_the_registry(world: World) -> None:
    async with looking(world, size=(120, 60)) as ui:
        await ui.shows("web-7")
        await ui.press("question_mark")
        await ui.shows("show machines")
        seen = ui.text
        for _ in range(4):
            await ui.press("pagedown")
            await ui.pilot.pause(0.1)
            seen += ui.text
        known = await asyncio.to_thread(lambda: actions.load(kinds.load()))
        await ui.until(lambda: all(each.help in seen + ui.text for each in known), "all help")
        await ui.press("escape")
        await ui.shows("web-7")


async def test_the_palette_finds_actions_and_objects(world: World) -> None:
    async with looking(world) as ui:
        await ui.shows("web-7")
        await ui.press("ctrl+p")
        await ui.type("broken")
        await ui.shows("vi broken lab")
        await ui.pilot.pause(0.2)
        await ui.press("down", "enter")
        await ui.shows("images", "an HTML page, not a disk image")


def test_every_action_has_its_own_key_and_words() -> None:
    found = list(actions.load(kinds.load()))
    keys = [key for action in found if action.key for key in action.key.split(",")]
    assert len(keys) == len(set(keys))
    words = [word for action in found for word in action.words]
    assert len(words) == len(set(words))
    destructive = {"x", "r", "ctrl+d"}
    assert destructive <= set(keys)


async def test_hostile_text_is_shown_and_not_obeyed(world: World) -> None:
    evil = "\x1b]52;c;AAAA\x07\u202e[bold]x[/]"
    await world.add("virtualmachines", machine("evil"), {"phase": "Running", "nodeName": evil, "ipAddress": evil})
    async with looking(world, size=(200, 45)) as ui:
        await ui.row("evil")
        await ui.shows("␛]52;c;AAAA␇�[bold]x[/]")
        await ui.press("y", "f")
        await ui.shows("nodeName:")
        assert "\x1b" not in ui.text
        assert "\u202e" not in ui.text


async def _never_answer(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    await reader.read()


async def test_several_homes_share_one_list_and_dead_or_hung_ones_cost_nothing(world: World) -> None:
    with short_folder() as folder, short_folder() as hung:
        server = await asyncio.start_unix_server(_never_answer, hung / "x.sock")
        async with server, serving(folder) as second:
            await second.machine("edge-1", phase="Stopped")
            homes = [local("/nonexistent/dead/x.sock"), local(str(hung / "x.sock")), world.home, second.home]
            app = HvApp(homes)
            async with app.run_test(size=(150, 40)) as pilot:
                ui = Ui(app, pilot)
                async with asyncio.timeout(5):
                    await ui.shows("web-7", "edge-1", "HOME", "dead ✖", f"{hung.name} ◌")


async def test_rows_survive_a_restart_of_the_daemon(world: World) -> None:
    async with looking(world) as ui:
        await ui.shows("web-7")
        await world.stop()
        await ui.shows("◐", "s old", "web-7")
        # It counts on, though every try to reach the home fails anew.
        await ui.until(lambda: re.search(r" ([3-9]|\d\d)s old", ui.line("web-7")) is not None, "the count")
        assert "10.66.10.7" in ui.line("web-7"), "what one needs just then"
        await world.start()
        await world.set_status("virtualmachines", "shop", "db-1", {"phase": "Starting"})
        await ui.shows("◐ Starting", "10.66.10.7")
        assert "s old" not in ui.text


async def test_a_daemon_that_hangs_is_shown_as_such(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse, "BEAT_SECONDS", 0.1)
    monkeypatch.setattr(aio, "PING_SECONDS", 0.3)
    answers = asyncio.Event()
    answers.set()

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection, silent while the daemon hangs."""
        there, back = await asyncio.open_unix_connection(world.home.socket)
        with contextlib.closing(writer), contextlib.closing(back):
            await asyncio.wait(
                [
                    asyncio.create_task(_pump(reader, back, answers)),
                    asyncio.create_task(_pump(there, writer, answers)),
                ],
                return_when=asyncio.FIRST_COMPLETED,
            )

    with short_folder() as folder:
        async with await asyncio.start_unix_server(relay, folder / "x.sock"):
            app = HvApp([local(str(folder / "x.sock"))])
            async with app.run_test(size=(120, 40)) as pilot:
                ui = Ui(app, pilot)
                await ui.shows("web-7", f"{folder.name} ●")
                answers.clear()
                await ui.shows(f"{folder.name} ◐", "s old", "web-7")
                answers.set()
                await ui.shows(f"{folder.name} ●")
                await ui.until(lambda: "s old" not in ui.text, "young rows")


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, open_: asyncio.Event) -> None:
    while data := await reader.read(65536):
        await open_.wait()
        writer.write(data)


async def test_a_command_acts_on_what_it_names(world: World) -> None:
    async with looking(world) as ui:
        await ui.row("web-7")
        for command, question in (
            ("stop web-8", "Stop web-8 (shop)?"), ("restart shop/web-8", "Restart web-8 (shop)?"),
            ("stop web-7.shop", "Stop web-7 (shop)?"), ("delete test", "Delete VirtualMachine test (lab)?"),
        ):  # fmt: skip
            await ui.press("colon")
            await ui.type(command)
            await ui.press("enter")
            await ui.shows(question)
            await ui.press("n")
            await ui.until(lambda: "any other key" not in ui.text)
        for command, answer in (
            ("stop nobody", "no nobody among machines"), ("start web-9", "no web-9 among machines"),
            ("console db-1", "console does not apply: db-1 is Stopped"), ("quit web-7", "quit takes no web-7"),
        ):  # fmt: skip
            await ui.row("web-7")
            await ui.press("colon")
            await ui.type(command)
            await ui.press("enter")
            await ui.shows(answer)
        await ui.press("colon")
        await ui.type("start db-1")
        await ui.press("enter")
        await ui.shows("Start of db-1 asked for")
        assert len(await world.names("virtualmachineoperations")) == 1


async def test_why_a_home_is_away_is_said_while_others_have_rows(world: World, empty_world: World) -> None:
    away = World(empty_world.settings.model_copy(update={"run_dir": empty_world.settings.run_dir / "gone"}),
                 empty_world.store, empty_world.server, empty_world.sessions, empty_world.hub)  # fmt: skip
    async with looking(world, away) as ui:
        await ui.shows("web-7", "gone: hyperd does not run here")
