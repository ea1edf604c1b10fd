"""The pieces by themselves: table logic, emulator, keys."""

from __future__ import annotations

import time
from collections.abc import Hashable

import pytest
from textual.app import App, ComposeResult
from textual.strip import Strip

from hyperd.client.amounts import quantity
from hyperd.client.health import Level
from tui import kinds
from tui.widgets.emulator import AvtEmulator
from tui.widgets.keys import encode, encode_paste
from tui.widgets.rows import Column, Row, fit, worth
from tui.widgets.table import VirtualTable

COLUMNS = (
    Column("NAME", 12, grow=1),
    Column("STATE", 10, state=True),
    Column("SIZE", 6, right=True, rank=1),
    Column("AGE", 5, right=True, rank=2, age=True),
)


def row(name: str, size: int | None = 1, *, note: str = "") -> Row:
    return Row(name, (name, size), (name, "Running", size, None), Level.GOOD, note)


class TableApp(App[None]):
    def __init__(self, rows: dict[Hashable, Row]) -> None:
        super().__init__()
        self.rows = rows

    def compose(self) -> ComposeResult:
        yield VirtualTable(id="t")

    @property
    def table(self) -> VirtualTable:
        return self.query_one(VirtualTable)

    def on_mount(self) -> None:
        self.table.show(COLUMNS, self.rows, self.rows.get, sort_column=0)


def test_the_highest_rank_goes_first_when_it_gets_narrow() -> None:
    assert [index for index, _ in fit(COLUMNS, 100, 2)] == [0, 1, 2, 3]
    assert [index for index, _ in fit(COLUMNS, 34, 2)] == [0, 1, 2]
    assert [index for index, _ in fit(COLUMNS, 5, 2)] == [0]
    assert sum(width + 2 for _, width in fit(COLUMNS, 100, 2)) == 100


def test_sorting_puts_numbers_before_text_and_nothing_last() -> None:
    rows = [row("c", None), row("b", 20), row("a", 3)]
    assert [r.key for r in sorted(rows, key=lambda r: worth(r.values[2]))] == ["a", "b", "c"]
    assert [r.key for r in sorted(rows, key=lambda r: worth(r.values[0]))] == ["a", "b", "c"]


async def test_ten_thousand_rows_open_and_move_at_once() -> None:
    app = TableApp({f"vm-{i:05}": row(f"vm-{i:05}", i) for i in range(10_000)})
    async with app.run_test(size=(80, 24)) as pilot:
        start = time.process_time()
        app.table.sort_by(2)
        app.table.filter("vm-09")
        app.table.filter("")
        assert time.process_time() - start < 1.0
        cursors = []
        for keys in (["end"], ["home"], ["pagedown", "down"]):
            await pilot.press(*keys)
            cursors.append(app.table.cursor)
        assert cursors == ["vm-09999", "vm-00000", "vm-00023"]


async def test_a_change_of_one_row_draws_one_line() -> None:
    app = TableApp({f"vm-{i:03}": row(f"vm-{i:03}", i) for i in range(200)})
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        drawn: list[int] = []
        draw = app.table.render_line

        def counted(y: int) -> Strip:
            drawn.append(y)
            return draw(y)

        app.table.render_line = counted  # type: ignore[method-assign]
        app.rows["vm-005"] = row("vm-005", 5)._replace(version="new", note="note")
        app.table.changed(["vm-005", "vm-150"], app.rows.__contains__)
        await pilot.pause()
        assert drawn == [6]


async def test_rows_that_come_and_go_keep_the_cursor_on_its_row() -> None:
    app = TableApp({name: row(name) for name in "bdf"})
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("down")
        app.rows["a"] = row("a")
        del app.rows["b"]
        app.table.changed(["a", "b"], app.rows.__contains__)
        assert (list(app.table.keys), app.table.cursor) == (["a", "d", "f"], "d")
        del app.rows["d"]
        app.table.changed(["d"], app.rows.__contains__)
        assert app.table.cursor == "f"
        app.rows.clear()
        app.table.changed(["a", "f"], app.rows.__contains__)
        assert app.table.cursor is None


def text(emulator: AvtEmulator, y: int) -> str:
    return "".join(part for part, _ in emulator.line(y)).rstrip()


def test_the_emulator_draws_colours_and_wide_characters() -> None:
    emulator = AvtEmulator(20, 4)
    emulator.feed("\x1b[1;31mhé\x1b[0m 世界\x1b[48;2;1;2;3mx".encode())
    assert text(emulator, 0) == "hé 世界x"
    style = emulator.line(0)[0][1]
    assert style.bold
    assert style.color is not None


def test_utf8_and_sequences_cut_by_chunks_are_joined() -> None:
    emulator = AvtEmulator(20, 4)
    for byte in "é\x1b[?2004h\x1b[?1h世".encode():
        emulator.feed(bytes((byte,)))
    assert text(emulator, 0) == "é世"
    assert emulator.bracketed_paste
    assert emulator.app_cursor


def test_only_fixed_answers_are_given_and_nothing_is_obeyed() -> None:
    emulator = AvtEmulator(20, 4)
    emulator.feed(b"ab\x1b[6n\x1b[5n\x1b[c\x1b[>c\x1b]52;c;?\x07\x1b]0;t\x07\x1bP$qm\x1b\\\x1b[21t\x1bZ")
    assert emulator.take_replies() == b"\x1b[1;3R\x1b[0n\x1b[?6c\x1b[>0;0;0c"
    assert text(emulator, 0) == "ab"
    assert emulator.take_replies() == b""


def test_lines_that_leave_at_the_top_are_kept() -> None:
    emulator = AvtEmulator(20, 3)
    emulator.feed(b"1\r\n2\r\n3\r\n4\r\n5")
    taken = [emulator.drawn(line) for line in emulator.take_scrolled()]
    assert ["".join(t for t, _ in line).rstrip() for line in taken] == ["1", "2"]
    assert emulator.take_scrolled() == []


@pytest.mark.parametrize(
    ("key", "character", "data"),
    [("a", "a", "a"),
     ("A", "A", "A"), ("enter", "\r", "\r"), ("backspace", "\x7f", "\x7f"), ("ctrl+c", "\x03", "\x03"),
     ("ctrl+right_square_bracket", None, "\x1d"), ("up", None, "\x1b[A"), ("ctrl+left", None, "\x1b[1;5D"),
     ("alt+x", None, "\x1bx"), ("f5", None, "\x1b[15~"), ("é", "é", "é"), ("ctrl+shift+f20", None, "")],
)  # fmt: skip
def test_keys_are_what_a_terminal_sends(key: str, character: str | None, data: str) -> None:
    assert encode(key, character, app_cursor=False) == data


def test_cursor_keys_follow_the_application_mode() -> None:
    assert encode("up", None, app_cursor=True) == "\x1bOA"


def test_a_paste_cannot_end_its_own_bracket() -> None:
    assert encode_paste("a\n\x1b[201~rm", bracketed=True) == "\x1b[200~a\r[201~rm\x1b[201~"
    assert encode_paste("a\r\nb", bracketed=False) == "a\rb"


def test_sizes_and_addresses_sort_as_numbers() -> None:
    def ordered(plural: str, title: str, *texts: object) -> list[object]:
        column = next(column for column in kinds.load()[plural].columns if column.title == title)
        return sorted(texts, key=lambda text: worth(text, column.number))

    assert ordered("virtualdisks", "SIZE", "1Gi", "22Mi", "", "500k") == ["500k", "22Mi", "1Gi", ""]
    assert ordered("virtualmachines", "ADDRESS", "10.66.10.10", "fe80::1", "10.66.10.9") == [
        "10.66.10.9", "10.66.10.10", "fe80::1",
    ]  # fmt: skip
    memory = next(field.get for field in kinds.load()["nodes"].fields if field.column.title == "MEMORY")
    assert memory({"status": {"capacity": {"memory": "24684092Ki"}}}) == "23.54Gi"
    assert [quantity(text) for text in ("1e3", "1.5Gi", "500m", "x", "Infinity", None, True)] == [
        1000, 1.5 * 2**30, 0.5, None, None, None, None,
    ]  # fmt: skip
