"""An object that is to be: a form and its YAML beside it, both to write in, and what the home says of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import ClassVar

from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.screen import ModalScreen
from textual.timer import Timer
from textual.widgets import Input, Static, TextArea

from hyperd.client import sanitize
from hyperd.errors import BadRequest, HyperdError
from tui import templates
from tui.described import Described
from tui.draft import Draft, Field, dotted, words_at
from tui.making import Maker, Verdict
from tui.screens.closing import ClosesOnce
from tui.screens.form import Form, Values
from tui.widgets.entries import Box, Entry, lines_of

_JUDGE_SECONDS = 0.4
_WIDE = 110
_MOST_LINES = 4


class Wizard(ClosesOnce, ModalScreen[None]):
    """``make`` is awaited with the draft once the home would take it and the user says so."""

    DEFAULT_CSS = """
    Wizard { background: $background; }
    Wizard > Vertical { padding: 0 1; }
    Wizard Horizontal.sides { height: 1fr; }
    Wizard VerticalScroll { width: 56; height: 1fr; scrollbar-size: 1 1; padding: 1 1 0 0; }
    Wizard TextArea { width: 1fr; height: 1fr; border: none; padding: 1 0 0 1; background: $surface; }
    Wizard #hint { max-height: 3; }
    Wizard TextArea:focus { border: none; }
    Wizard Static { height: auto; }
    Wizard.narrow VerticalScroll { width: 1fr; }
    Wizard.narrow TextArea { display: none; }
    Wizard.narrow.text VerticalScroll { display: none; }
    Wizard.narrow.text TextArea { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+s,f2", "make", priority=True),
        Binding("f3", "edit", priority=True),
        Binding("f4", "turn", priority=True),
        Binding("f5", "keep", priority=True),
        Binding("f6", "take", priority=True),
        Binding("escape", "drop", priority=True),
    ]

    def __init__(
        self,
        title: str,
        draft: Draft,
        fields: Sequence[Field],
        described: Mapping[str, Mapping[str, Described]],
        names: Mapping[str, Sequence[str]],
        maker: Maker,
        make: Callable[[Draft], Coroutine[None, None, None]],
        edit: Callable[[str], Coroutine[None, None, str]],
    ) -> None:
        """``described`` are the fields of each kind by path, ``names`` what may be chosen by plural.

        ``make`` raises HyperdError where the home refuses after all: nothing that was written is lost then.
        ``edit`` gives a text as the user left it in an editor, and raises HyperdError.
        """
        super().__init__()
        self._title = title
        self._draft = draft
        self._fields = {field.name: field for field in fields}
        lines = lines_of([_entry(field, draft, described, names) for field in fields])
        self._lines = {line.entry.name: line for line in lines}
        self._maker = maker
        self._make = make
        self._edit = edit
        self._making = False
        self._text = draft.text
        self._wrong: dict[str, str] = {}
        """What cannot be meant, by the name of the box it is in; of the YAML by an empty one."""
        self._verdict: Verdict | None = None
        self._timer: Timer | None = None
        self._changed = False
        self._hint = ""

    def compose(self) -> ComposeResult:
        """Title, form, YAML, the home's word, and the keys."""
        with Vertical():
            yield Static(Text(sanitize.line(self._title), style="bold"))
            with Horizontal(classes="sides"):
                with VerticalScroll(can_focus=False):
                    yield from self._lines.values()
                yield TextArea(self._text, soft_wrap=False, tab_behavior="indent", theme="css")
            yield Static(id="hint")
            yield Static(id="verdict")
            yield Static(id="keys")

    def on_mount(self) -> None:
        """Begin at the first box, and ask the home."""
        next(iter(self._lines.values())).box.focus()
        self._show_lines()
        self._judge_soon()

    def on_resize(self, event: events.Resize) -> None:
        """Side by side where there is room."""
        self.set_class(event.size.width < _WIDE, "narrow")
        self._show_keys()

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Say what this box is for."""
        if isinstance(event.widget, Box):
            self._hint = event.widget.entry.hint
            self._show_hint()

    def on_input_changed(self, event: Input.Changed) -> None:
        """What is typed in a box is in the YAML at once."""
        event.stop()
        if not isinstance(event.input, Box):
            return
        field = self._fields[event.input.entry.name]
        text = event.value.strip()
        if text == field.get(self._draft) and field.name not in self._wrong:
            return
        if self._making or "" in self._wrong:  # what was written in the YAML would be lost
            event.input.have(field.get(self._draft))
            if not self._making:
                self._say("The YAML cannot be read: F4 goes there, to mend it.")
            return
        try:
            field.put(self._draft, text)
        except BadRequest as err:
            self._wrong[field.name] = err.message
        else:
            self._wrong.pop(field.name, None)
        self._text = self._draft.text
        self.query_one(TextArea).load_text(self._text)
        self._touched(but=event.input)

    def on_text_area_changed(self, event: TextArea.Changed) -> None:
        """What is written in the YAML is in the boxes as soon as it can be read."""
        event.stop()
        text = event.text_area.text
        if text == self._text:
            return
        self._text = text
        try:
            self._draft.read(text)
        except BadRequest as err:
            self._wrong[""], self._verdict = err.message, None
            self._show_verdict()
            return
        self._wrong.clear()
        self._touched(but=None)

    def _touched(self, *, but: Box | None) -> None:
        self._changed = True
        for name, line in self._lines.items():
            if line.box is not but and name not in self._wrong:
                line.box.have(self._fields[name].get(self._draft))
        self._show_lines()
        self._judge_soon()

    def _judge_soon(self) -> None:
        self._verdict = None
        self._show_verdict()
        if self._timer is not None:
            self._timer.stop()
        self._timer = self.set_timer(_JUDGE_SECONDS, lambda: self.run_worker(self._judge(), exclusive=True))

    async def _judge(self) -> None:
        text = self._text
        found = await self._maker.judge(self._draft.objects)
        if text != self._text or self._wrong or not self.is_attached:
            return
        self._verdict = found
        faulty = {(kind, field) for kind, field, _ in found.faults}
        for name, line in self._lines.items():
            field = self._fields[name]
            kind, path = field.kind or str(self._draft.main.get("kind")), dotted(field.path)
            line.faulty(wrong=any(kind == of and at.startswith(path) for of, at in faulty if path))
            line.box.have(line.box.value, self._default(field, found))
        self._show_verdict()

    def _default(self, field: Field, found: Verdict) -> str:
        """What the home puts where nothing is said."""
        kind = field.kind or self._draft.main.get("kind")
        stored = next((obj for obj in found.stored if obj.get("kind") == kind), None)
        return sanitize.line(words_at(stored, field.path))

    def _show_lines(self) -> None:
        for name, line in self._lines.items():
            line.display = self._fields[name].shown(self._draft)

    def _show_hint(self, *, error: bool = False) -> None:
        self.query_one("#hint", Static).update(Text(sanitize.line(self._hint), style="red" if error else "dim"))

    def _show_verdict(self) -> None:
        lines = [
            Text(f"✖ {sanitize.line(self._told(name, why))}", style="red") for name, why in self._wrong.items()
        ]
        found = self._verdict
        if found is None:
            lines = lines or [Text("… the home is asked", style="dim")]
        else:
            several = len(self._draft.objects) > 1
            for kind, path, why in found.faults:
                where = " ".join(part for part in (kind if several else "", path) if part)
                lines.append(Text(f"✖ {sanitize.line(f'{where}: {why}' if where else why)}", style="red"))
            lines += [Text(f"! {sanitize.line(warning)}", style="yellow") for warning in found.warnings]
            if not found.faults and not self._wrong:
                what = ", ".join(
                    f"{obj.get('kind')} {words_at(obj, ('metadata', 'name'))}" for obj in found.stored
                )
                lines.insert(0, Text(f"● the home takes it: {sanitize.line(what)}", style="green"))
        self.query_one("#verdict", Static).update(Text("\n").join(lines[:_MOST_LINES]))

    def _told(self, name: str, why: str) -> str:
        return f"{self._lines[name].entry.label}: {why}" if name else why

    def _show_keys(self) -> None:
        turn = "F4 form" if self.has_class("text") else "F4 YAML"
        text = f"Ctrl+S creates it   F3 editor   {turn}   F5 keep   F6 template   Esc drops it"
        self.query_one("#keys", Static).update(Text(text, style="dim"))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter goes on to the next box."""
        event.stop()
        self.focus_next(Box)

    def on_key(self, event: events.Key) -> None:
        """Move between boxes."""
        if not isinstance(self.focused, Box):
            return
        if event.key in ("down", "tab"):
            self.focus_next(Box)
        elif event.key in ("up", "shift+tab"):
            self.focus_previous(Box)
        else:
            return
        event.stop()
        event.prevent_default()

    def action_turn(self) -> None:
        """To the YAML, and back to the form."""
        to_text = not isinstance(self.focused, TextArea)
        self.set_class(to_text, "text")
        if to_text:
            self.query_one(TextArea).focus()
        else:
            next(line for line in self._lines.values() if line.display).box.focus()
        self._show_keys()

    def action_edit(self) -> None:
        """The YAML in the user's own editor."""
        if not self._making:
            self.run_worker(self._edited(), exclusive=True, group="edit")

    async def _edited(self) -> None:
        try:
            text = await self._edit(self._text)
        except HyperdError as err:
            self._say(err.message, error=True)
        else:
            self.query_one(TextArea).load_text(text)
        self.refresh(layout=True)

    def action_keep(self) -> None:
        """Keep the draft as a template."""
        entry = Entry(
            "name", "Name", help="what the template is called; one of the same name is replaced", needed=True
        )
        self.app.push_screen(Form("Keep this as a template", [entry], self._keep))

    def _keep(self, values: Values) -> None:
        self.run_worker(self._kept(values["name"]), group="template")

    async def _kept(self, name: str) -> None:
        kind, text = str(self._draft.main.get("kind")), self._text
        try:
            path = await asyncio.to_thread(templates.write, kind, name, text)
        except HyperdError as err:
            self._say(err.message, error=True)
        else:
            self._say(f"Kept in {path}; F6 begins with it.")

    async def action_take(self) -> None:
        """Begin with a template."""
        names = await asyncio.to_thread(templates.names, str(self._draft.main.get("kind")))
        if not names:
            self._say("There is no template of this kind; F5 keeps what is here as one.")
            return
        entry = Entry("name", "Template", names[0], "what is written here is dropped for it", names, closed=True)
        self.app.push_screen(Form("Begin with a template", [entry], self._take))

    def _take(self, values: Values) -> None:
        self.run_worker(self._taken(values["name"]), group="template")

    async def _taken(self, template: str) -> None:
        """What was typed as the name stays the name."""
        name = self._draft.name
        try:
            text = await asyncio.to_thread(templates.read, str(self._draft.main.get("kind")), template)
            draft = Draft([])
            draft.read(text)
            field = next((field for field in self._fields.values() if field.path == ("metadata", "name")), None)
            if name and field is not None:
                field.put(draft, name)
        except HyperdError as err:
            self._say(err.message, error=True)
        else:
            self.query_one(TextArea).load_text(draft.text)
            self._say(f"Begun with {template}.")

    def action_drop(self) -> None:
        """Leave; what was written is asked about once."""
        if self._making:
            return
        if self._changed:
            self._changed = False
            self._say("Nothing is created yet; Esc once more drops what was written.")
        else:
            self.dismiss()

    def action_make(self) -> None:
        """Create it, if the home takes it."""
        if self._making:
            return
        if self._wrong or self._verdict is None or self._verdict.faults:
            known = self._wrong or self._verdict is not None
            self._say("It is not as the home takes it yet." if known else "The home has not answered yet.")
            return
        self._begin(making=True)
        self._say("It is being created.")
        self.run_worker(self._made(), group="make")

    async def _made(self) -> None:
        try:
            await self._make(self._draft)
        except HyperdError as err:
            self._begin(making=False)
            self._say(f"It was not created: {err.message}", error=True)
        else:
            self.dismiss()

    def _begin(self, *, making: bool) -> None:
        self._making = self.query_one(TextArea).read_only = making

    def _say(self, text: str, *, error: bool = False) -> None:
        self._hint = text
        self._show_hint(error=error)


def _entry(
    field: Field,
    draft: Draft,
    described: Mapping[str, Mapping[str, Described]],
    names: Mapping[str, Sequence[str]],
) -> Entry:
    """What the box of a field asks for, as the home's own description has it."""
    kind = field.kind or str(draft.main.get("kind"))
    known = described.get(kind, {}).get(dotted(field.path))
    chosen = tuple(name for plural in field.choices for name in names.get(plural, ()))
    words = known.words if known is not None else ()
    text = field.help or (" ".join(known.help.split()) if known is not None else "")
    return Entry(
        field.name, field.label, field.get(draft), text, (*chosen, *field.words) or words,
        closed=bool(words) and not chosen, default=known.default if known is not None else "",
        needed=known.needed if known is not None else field.path == ("metadata", "name"),
    )  # fmt: skip
