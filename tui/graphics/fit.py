"""Where a picture lies in a field of a terminal's cells."""

from __future__ import annotations

from dataclasses import dataclass

CELL = (8, 16)
"""A cell's pixels where the terminal does not tell."""


@dataclass(frozen=True)
class Fit:
    """A picture's place: its cells, and which of its pixels lies beneath one of them."""

    left: int
    top: int
    columns: int
    rows: int
    width: int
    height: int

    @classmethod
    def of(cls, width: int, height: int, columns: int, rows: int, cell: tuple[int, int] = CELL) -> Fit:
        """A picture of ``width`` by ``height`` pixels, as large as it can be in so many cells, in the middle."""
        across, down = cell
        scale = min(columns * across / width, rows * down / height)
        used = max(1, min(columns, round(width * scale / across)))
        high = max(1, min(rows, round(height * scale / down)))
        return cls((columns - used) // 2, (rows - high) // 2, used, high, width, height)

    def pixel(self, x: int, y: int) -> tuple[int, int] | None:
        """The picture's pixel beneath the middle of a cell; None beside it."""
        column, row = x - self.left, y - self.top
        if not (0 <= column < self.columns and 0 <= row < self.rows):
            return None
        across = (2 * column + 1) * self.width // (2 * self.columns)
        return across, (2 * row + 1) * self.height // (2 * self.rows)
