"""Pictures of the terminal UI for the documentation: ``./dev screenshots`` writes them into docs/screenshots.

Most are of the demo's fleet (``hv tui --demo``); what a demo has not, consoles and screens of guests, is of the
world that the tests have. Clocks stand still and chance has a seed, so that a rerun writes the same files.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

from aiohttp import web
from PIL import Image, ImageDraw

from hyperd.client.change import differences
from hyperd.client.home import Home
from hyperd.resources.schema.kind import Object
from tests.tui.conftest import Ui
from tests.tui.world import World, populate, serving, short_folder
from tui.app import HvApp
from tui.config import THEMES
from tui.demo import Demo
from tui.homes import HomeState
from tui.kind import OVERVIEW
from tui.screens.diff import Diff
from tui.usage import Usage

FOLDER = Path(__file__).parents[2] / "docs" / "screenshots"
_NOW = 1767225600.0
"""New year 2026."""
_MEASURES = 12
_TOTALS = [("cpu", 0.34), ("mem", 0.61), ("disk", 0.47)]
_SLIMMER = [
    (re.compile(pattern, re.DOTALL), instead)
    for pattern, instead in (
        (r"\s*@font-face \{.*?\}", ""), (r"terminal-\d+-", "t-"), ("&#160;", " "),
        ("<svg ", '<svg xml:space="preserve" '),
        (r'<clipPath id="t-line-\d+">.*?</clipPath>\n?', ""), (r' clip-path="url\(#t-line-\d+\)"', ""),
        ("<text [^>]*> *</text>", ""),
    )
]  # fmt: skip
_REFS = [{"kind": "VirtualDisk", "name": "web-7-root"}, {"kind": "VirtualDisk", "name": "web-7-data"}]
_AUDIT = [
    {"time": f"2026-01-01T09:{minute:02}:00Z", "code": code, "user": user, "verb": verb, "resource": resource,
     "namespace": "shop", "name": name, "source": source}
    for minute, (code, user, verb, resource, name, source) in enumerate(
        (
            (201, "ann", "create", "virtualdisks", "web-7-data", "10.0.0.7"),
            (200, "ann", "patch", "virtualmachines", "web-7", "10.0.0.7"),
            (403, "kim", "delete", "virtualmachines", "db-1", "10.0.0.9"),
            (200, "unix:root", "delete", "virtualmachines", "web-6", "unix"),
            (101, "ann", "get", "virtualmachines/console", "web-7", "10.0.0.7"),
        )
    )
]  # fmt: skip
_SMALL, _LARGE = (80, 24), (140, 36)


@dataclass
class Camera:
    """Takes pictures of one UI."""

    ui: Ui
    folder: Path
    taken: list[str]

    async def take(self, name: str, *words: str) -> None:
        """Once ``words`` are there and nothing changes any more."""
        await self.ui.shows(*words)
        before = ""
        while before != (now := self.ui.text):
            before = now
            await self.ui.pilot.pause(0.15)
        svg = self.ui.app.export_screenshot(title="hv tui", simplify=True)
        (self.folder / f"{name}.svg").write_text(slim(svg))
        self.taken.append(name)

    async def back(self) -> None:
        """To the list, with nothing laid over it."""
        while self.ui.app.screen is not self.ui.app.main:
            await self.ui.press("escape")
            await self.ui.pilot.pause()


def slim(svg: str) -> str:
    """The same in fewer bytes: without fonts from elsewhere, clips of lines, and text that is blank."""
    for pattern, instead in _SLIMMER:
        svg = pattern.sub(instead, svg)
    return svg.strip() + "\n"


@contextmanager
def still(now: float) -> Iterator[None]:
    """No time passes on the wall's clock."""
    with patch("time.time", lambda: now):
        yield


@asynccontextmanager
async def shown(*homes: Home, size: tuple[int, int]) -> AsyncIterator[Ui]:
    """A UI on these homes."""
    app = HvApp(list(homes))
    async with app.run_test(size=size) as pilot:
        yield Ui(app, pilot)


async def demo(folder: Path, taken: list[str]) -> None:
    """Of the fleet that is none."""
    now = 0.0
    fleet = Demo(clock=lambda: now)
    with short_folder() as short:
        os.chdir(short)
        path = "demo.sock"  # which says the same each time
        runner = web.ServerRunner(web.Server(fleet.answer), shutdown_timeout=0.1)
        await runner.setup()
        await web.UnixSite(runner, path).start()
        try:
            async with shown(Home(name="DEMO", socket=path, namespace="shop"), size=_LARGE) as ui:
                await ui.shows("vm 1000", "demo-0001")
                for _ in range(_MEASURES):
                    now += 2.0
                    fleet.measure(len(fleet.objects["virtualmachines"]))
                    await ui.pilot.pause(0.25)
                await _walk(Camera(ui, folder, taken))
        finally:
            await runner.cleanup()
            # Its watches would wait for ever.
            left = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)


async def _walk(camera: Camera) -> None:
    """Through every screen that needs no guest."""
    ui = camera.ui
    await ui.row("demo-0001")
    await camera.take("machines", "Overview", "disk now")
    dark, ui.app.theme = ui.app.theme, THEMES["light"]
    await camera.take("machines-light", "Overview", "disk now")
    ui.app.theme = dark
    await ui.pilot.resize_terminal(*_SMALL)
    await ui.row("demo-0001")
    await camera.take("machines-80x24", "demo-0001")
    await ui.pilot.resize_terminal(*_LARGE)
    await ui.press("y")
    await camera.take("yaml", "▸status: ⋯")
    await ui.press("E")
    await camera.take("events", "AgentReady")
    await ui.press("u")
    await ui.until(lambda: "not known here" not in ui.text, "all that it uses")
    await camera.take("related", "used by")
    await camera.back()
    ui.app.main.detail.choose(OVERVIEW)
    await ui.type("/!running")
    await ui.press("enter")
    await ui.row("demo-0002")
    await camera.take("filter", "/!running", "Pending")
    await ui.press("w")
    await camera.take("why", "401", "mend")
    await camera.back()
    ui.app.main.filter("")
    for name, key, row in (
        ("nodes", "5", "demo-2"),
        ("disks", "2", "demo-0002-root"),
        ("images", "3", "fedora-43"),
    ):
        await ui.press(key)
        await ui.row(row)  # rows come in any order, and the cursor stays on the first one
        await camera.take(name, "AGE" if name != "nodes" else "DISK%")
    for name, key, words in (
        ("activity", "a", "fedora-43"), ("help", "question_mark", "Esc closes"),
        ("namespaces", "n", "Enter shows it"), ("palette", "ctrl+p", "an action, or an object"),
    ):  # fmt: skip
        await ui.press(key)
        await camera.take(name, words)
        await camera.back()
    await ui.press("5")
    await ui.row("demo-2")
    await ui.type(":drain")
    await ui.press("enter")
    await camera.take("drain", "No new machines start")
    await camera.back()
    await ui.press("1")
    await ui.row("demo-0003")
    await ui.press("x")
    await camera.take("confirm", "y  yes")
    await camera.back()
    await ui.press("m")
    await camera.take("migrate", "y  yes")
    await camera.back()
    await ui.press("space", "space", "space", "x")
    await camera.take("bulk", "type  stop")
    await camera.back()
    await ui.press("escape")
    for state in ui.app.fleet.homes.values():
        state.since = time.monotonic() - 3 * 86400
    with patch.object(HomeState, "answered_in", property(lambda _: 0.003, lambda *_: None), create=True):
        await ui.press("H")
        await camera.take("homes", "WHERE", "3ms")
        await camera.back()


def _installer() -> Image.Image:
    """What a guest's screen shows: an installer in graphics."""
    image = Image.new("RGB", (640, 400), (24, 32, 64))
    draw = ImageDraw.Draw(image)
    draw.rectangle((80, 60, 559, 339), fill=(232, 232, 232))
    draw.rectangle((80, 60, 559, 99), fill=(192, 32, 64))
    draw.rectangle((140, 220, 499, 243), outline=(96, 96, 96))
    draw.rectangle((141, 221, 340, 242), fill=(48, 128, 192))
    for top, width in ((130, 320), (156, 260), (182, 300)):
        draw.rectangle((140, top, 140 + width, top + 8), fill=(120, 120, 120))
    return image


async def guests(folder: Path, taken: list[str]) -> None:
    """Of consoles and screens, and of what only a whole API has."""
    with short_folder() as short, patch.object(Usage, "totals", lambda _: _TOTALS):
        async with serving(short) as world:
            await populate(world)
            home = Home(name="lab", socket=str(world.settings.socket_path), namespace="shop")
            async with shown(home, size=_LARGE) as ui:
                await _consoles(camera := Camera(ui, folder, taken), world)
                await _changes(camera, world)


async def _consoles(camera: Camera, world: World) -> None:
    ui = camera.ui
    await ui.row("web-7")
    await ui.press("c")
    await ui.shows("connected to shop/web-7")
    await ui.press("enter")
    await ui.type("root")
    await camera.take("console", "web-7 login: root")
    await ui.press("ctrl+right_square_bracket", "escape")
    await ui.row("web-8")
    await ui.press("c")
    await ui.shows("connected to shop/web-8")
    await ui.press("enter")
    await ui.shows("web-8 login:")
    await ui.press("ctrl+right_square_bracket", "t")
    await camera.take("tiles", "web-7 login: root", "web-8 login:")
    await ui.press("ctrl+right_square_bracket", "t", "ctrl+right_square_bracket", "escape")
    await world.picture("web-8").show(_installer())
    await ui.row("web-8")
    await ui.press("v")
    await camera.take("screen", "connected to shop/web-8")
    await ui.press("ctrl+right_square_bracket", "escape")
    await ui.press("plus")
    await ui.shows("Ctrl+S creates it")
    await ui.type("web-9")
    await ui.press("down", *["backspace"] * len("default"))
    await ui.type("shop")
    await ui.press("down")
    await ui.type("vi/debian-12")
    await camera.take("create", "the home takes it")


async def _changes(camera: Camera, world: World) -> None:
    """What an edit would write, and who wrote what."""
    ui = camera.ui
    await camera.back()
    before: Object = {"spec": {"cpu": {"cores": 2}, "memory": {"size": "2Gi"}, "blockDeviceRefs": _REFS[:1]}}
    after: Object = {"spec": {"cpu": {"cores": 4}, "memory": {"size": "4Gi"}, "blockDeviceRefs": _REFS}}
    warnings = ["Restart the virtual machine to apply: cpu.cores, memory.size."]
    answer: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    ui.app.push_screen(Diff("shop/web-7", list(differences(before, after)), (), warnings, answer))
    await camera.take("diff", "Your change of", "+ 4Gi")
    await camera.back()
    file = world.settings.log_dir / "audit.log"
    file.parent.mkdir(exist_ok=True)
    file.write_text("".join(json.dumps(entry) + "\n" for entry in _AUDIT))
    await ui.type(":audit")
    await ui.press("enter")
    await camera.take("audit", "audit log of", "kim")


async def take(folder: Path) -> list[str]:
    """All pictures, into ``folder``; returns their names."""
    taken: list[str] = []
    with still(_NOW):
        await demo(folder, taken)
    with still(time.time()):
        await guests(folder, taken)
    return taken


def main() -> None:
    """Write them anew; those that are not taken any more go."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    taken = asyncio.run(take(FOLDER))
    for path in FOLDER.glob("*.svg"):
        if path.stem not in taken:
            path.unlink()
    size = sum(path.stat().st_size for path in FOLDER.glob("*.svg"))
    sys.stdout.write(f"{len(taken)} pictures, {size >> 10} KiB, in {FOLDER}\n")


if __name__ == "__main__":
    main()
