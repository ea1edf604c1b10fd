"""The Textual application: one fleet, one screen, the first frame before the first byte of network."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import RenderableType
from textual import events
from textual.app import App
from textual.filter import LineFilter, Monochrome

from hyperd.client import sanitize
from hyperd.client.home import Home
from hyperd.client.kinds import built_in
from tui import configured, context, kinds
from tui.ahead import Ahead, Reached
from tui.config import Config
from tui.default import described
from tui.driver import TerminalDriver
from tui.fleet import GATHER_SECONDS, SPARING_SECONDS, Fleet
from tui.graphics.fit import CELL
from tui.plain import Plain
from tui.screens.consoles import SESSIONS
from tui.screens.main import MainScreen
from tui.usage import SOURCES

_KEEP_SECONDS = 2.0
_NOTHING_SET = Config()


class HvApp(App[None], inherit_bindings=False):
    """``hv tui``."""

    TITLE = "hv"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    * { scrollbar-background: $background; scrollbar-color: $surface-lighten-2; }
    """

    def __init__(
        self,
        homes: Sequence[Home],
        *,
        namespace: str = "",
        machine: str = "",
        escape: str = "^]",
        state: Path | None = None,
        config: Config = _NOTHING_SET,
        graphics: str = "auto",
    ) -> None:
        """``state`` is the file in which it is kept where the user was; without one it is not. ``graphics`` is how
        screens are shown: ``kitty``, ``sixel``, ``blocks``, or as the terminal says it can (``auto``).

        Raises BadRequest where ``config`` names what is not there.
        """
        super().__init__(driver_class=TerminalDriver if sys.stdin and sys.stdin.isatty() else None)
        known = kinds.load()
        resources = [one for one in built_in() if known.get(one.plural) is not None or one.plural in SOURCES]
        always = [*SOURCES, *(kind.plural for kind in known if kind.counted or kind.running is not None)]
        gather = SPARING_SECONDS if config.low_bandwidth else GATHER_SECONDS
        self.fleet = Fleet(homes, resources, always=always, unjudged=SOURCES, gather=gather)
        for resource in built_in():
            if resource.plural in SOURCES:
                known.put(described(resource.plural, resource, ()))
            elif known.get(resource.plural) is None:
                plural = self.fleet.add(resource)
                known.put(described(plural, resource, ()))
        self.trail = context.Trail(next(iter(known)).plural)
        self._state, self._kept = state, b""
        if state is not None and self.trail.loads(content := context.read(state)):
            self._kept = content
        if namespace:
            self.trail.namespace = namespace
        configured.refine(known, config)
        acts = configured.actions(known, config)
        self._plain = [Plain()] if config.plain else []
        if config.plain:
            self._filters.append(Monochrome())
        if config.theme:
            self.theme = configured.theme(config.theme, self.available_themes)
        self.main = MainScreen(
            self.fleet, known, acts, self.trail, machine=machine, escape=escape, read_only=config.read_only
        )

        self.ahead = Ahead(self, super().on_event)
        self._graphics = "blocks" if config.plain else graphics
        self.cell = CELL

    def get_line_filters(self) -> Sequence[LineFilter]:
        """As Textual's, and the one that leaves nothing but ASCII."""
        return [*super().get_line_filters(), *self._plain]

    def graphics(self, learned: Callable[[str], None]) -> str:
        """How pictures are shown; where that is not known yet, in blocks until the terminal has said."""
        if self._graphics != "auto":
            return self._graphics
        driver = self._driver
        self._graphics = "blocks"

        def told(mode: str) -> None:
            self._graphics = mode
            if mode != "blocks":
                learned(mode)

        if isinstance(driver, TerminalDriver):
            driver.ask_graphics(told)
        return self._graphics

    def write_picture(self, text: str) -> None:
        """Put a picture on the terminal, between what is painted."""
        if self._driver is not None:
            self._driver.write(text)
            self._driver.flush()

    def redraw_all(self) -> None:
        """Write the screen anew: something else may have written over it."""
        if isinstance(self._driver, TerminalDriver):
            self._driver.frugal.forget()
        self.refresh()

    def on_resize(self, event: events.Resize) -> None:
        """How large a cell is, where the terminal tells."""
        if (pixels := event.pixel_size) is not None and event.size.width and event.size.height:
            self.cell = max(1, pixels.width // event.size.width), max(1, pixels.height // event.size.height)

    def on_mount(self) -> None:
        """Show the screen; follow the fleet once it has been painted."""
        if not self.is_headless:
            # Ended from outside, the terminal is given back too.
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.exit, None, 128 + signal.SIGTERM)
        self.install_screen(self.main.sessions, SESSIONS)
        self.push_screen(self.main)
        self.set_interval(_KEEP_SECONDS, self._keep)
        self.call_after_refresh(self._follow)

    async def _keep(self) -> None:
        """Write down where the user is, if that is somewhere else now."""
        content = self.trail.dumps()
        if self._state is not None and content != self._kept:
            self._kept = content
            await asyncio.to_thread(context.write, self._state, content)

    async def on_unmount(self) -> None:
        """Where the user was at last."""
        await self._keep()

    async def on_event(self, event: events.Event) -> None:
        """As Textual's; but keys wait for what the ones before them do."""
        if isinstance(event, events.Key | events.Paste) and not event.is_forwarded:
            self.ahead.take(event)
        else:
            await super().on_event(event)

    def on_reached(self, message: Reached) -> None:
        """What was typed has been seen by all who may care for it."""
        if not message.at.done():
            message.at.set_result(None)

    def panic(self, *renderables: RenderableType) -> None:
        """End, and not as if all were well."""
        self._return_code = self._return_code or 1
        super().panic(*renderables)

    def _fatal_error(self) -> None:
        """A defect of ours: one sentence, unless its place is asked for."""
        error = sys.exc_info()[1]
        if os.environ.get("HV_DEBUG") or error is None:
            super()._fatal_error()
            return
        text = f"hv: unexpected {type(error).__name__}: {error} (HV_DEBUG=1 shows where; this is a defect)"
        self._exit_renderables.append(sanitize.text(text))
        self._close_messages_no_wait()

    def _follow(self) -> None:
        self.run_worker(self.fleet.run(self.main.tell), name="fleet", group="fleet", exit_on_error=True)
