"""Tables that stay legible on narrow screens."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.table import Table
from rich.text import Text

_GAP = 2
_LEAST_OF_TEXT = 16
"""Columns of the screen that text which may be folded wants at least."""


class Rows:
    """Rows below headings; where they don't fit side by side, each row's cells below each other.

    A heading that begins with ">" is of a column that is aligned to the right, one with "~" of text that may be folded.
    """

    def __init__(self, *headings: str) -> None:
        self._headings = [heading.lstrip(">~") for heading in headings]
        self._is_right = [heading.startswith(">") for heading in headings]
        self._is_text = [heading.startswith("~") for heading in headings]
        self._rows: list[tuple[str, ...]] = []

    def add_row(self, *cells: str) -> None:
        """Cells may hold rich's markup."""
        self._rows.append(cells)

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        columns = zip(*[self._headings, *self._rows], strict=False)
        widths = [max(map(_width, column)) for column in columns]
        least = [
            min(width, _LEAST_OF_TEXT) if is_text else width
            for width, is_text in zip(widths, self._is_text, strict=False)
        ]
        is_wide = sum(least) + _GAP * (len(least) - 1) <= options.max_width
        yield self._beside() if is_wide else self._below()

    def _beside(self) -> Table:
        made = Table(box=None, header_style="bold", pad_edge=False, padding=(0, _GAP, 0, 0))
        for heading, is_right, is_text in zip(self._headings, self._is_right, self._is_text, strict=True):
            made.add_column(heading, justify="right" if is_right else "left", overflow="fold", no_wrap=not is_text)
        for cells in self._rows:
            made.add_row(*cells)
        return made

    def _below(self) -> Table:
        made = Table.grid(padding=(0, _GAP, 0, 0))
        made.add_column(style="bold", no_wrap=True)
        made.add_column(overflow="fold")
        for number, cells in enumerate(self._rows):
            if number:
                made.add_row()
            for heading, cell in zip(self._headings, cells, strict=False):
                if cell:
                    made.add_row(heading.replace("\n", " "), cell)
        return made


def _width(cell: str) -> int:
    return max((cell_len(line) for line in Text.from_markup(cell).plain.split("\n")), default=0)
