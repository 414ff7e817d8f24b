"""Tables on narrow terminals: if the columns do not fit, each row becomes its name and a list of its values."""

from __future__ import annotations

from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.padding import Padding
from rich.table import Column, Table
from rich.text import Text


@dataclass(frozen=True)
class Fitted:
    """A table that fits any terminal: no cell is ever truncated.

    The first column contains the names. Columns with `no_wrap` need their full width; the others may wrap, down to
    their `min_width`.
    """

    table: Table

    def fits(self, width: int) -> bool:
        """Whether the columns fit in this number of characters."""
        return sum(map(_needed, self.table.columns)) + self._between <= width

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        if self.fits(options.max_width):
            yield self.table
        else:
            yield from self._stacked()

    def _stacked(self) -> RenderResult:
        if self.table.title:
            yield _text(self.table.title)
        names, *columns = ([*column.cells] for column in self.table.columns)
        heads = [_head(column) for column in self.table.columns[1:]]
        for name, *cells in zip(names, *columns, strict=True):
            yield _text(name)
            found = [f"{head} {_line(cell)}" for head, cell in zip(heads, cells, strict=True) if _line(cell)]
            yield Padding(Text(", ".join(found), overflow="fold"), (0, 0, 0, 2))
        if self.table.caption:
            yield _text(self.table.caption)

    @property
    def _between(self) -> int:
        """Characters between the columns."""
        _, right, _, left = self.table.padding
        edges = 0 if self.table.pad_edge else left + right
        borders = len(self.table.columns) - 1 if self.table.box else 0
        return (left + right) * len(self.table.columns) - edges + borders


def _needed(column: Column) -> int:
    if not column.no_wrap and column.min_width:
        return column.min_width
    texts = [_text(column.header), *map(_text, column.cells)]
    return max(cell_len(line) for text in texts for line in text.plain.split("\n"))


def _head(column: Column) -> str:
    """The header of a column on one line: `para-` and `meters` are one word."""
    return _text(column.header).plain.replace("-\n", "").replace("\n", " ")


def _line(cell: object) -> str:
    return " ".join(_text(cell).plain.split("\n"))


def _text(value: object) -> Text:
    text = value.copy() if isinstance(value, Text) else Text.from_markup(str(value))
    text.overflow = "fold"
    return text
