"""Gathers the answers of batches, so that many are looked at together."""

from __future__ import annotations

from collections.abc import Sequence

from services.inference.model_process.outputs import Layout
from services.inference.model_process.statistics import Content, Statistics, summarised
from services.inference.model_process.worker import BatchReport

MOST_BYTES = 256 * 1024


class AnswerColumns:
    """Answers to requests in a row. Holds ``MOST_BYTES`` of them, and those of the batches added last, at most.

    Batches are many, and most look like the one before: nothing is called, or made, for one of those.
    """

    def __init__(self) -> None:
        self._parts: list[Statistics] = []
        self._blank = 0
        """Requests of which there is nothing to tell, since the last part."""
        self._layout: Layout | None = None
        """The last one of those answers, all alike, that weren't looked at yet."""
        self._runs: list[tuple[Layout, int]] = []
        self._rows: list[int] = []
        self._contents: list[Sequence[Content]] = []
        self._packed: list[bytearray] = []

    def add(self, reports: Sequence[BatchReport]) -> None:
        """Take the answers of these batches in."""
        add_rows, add_contents = self._rows.extend, self._contents.append
        for report in reports:
            kept = report.execution.answers
            if isinstance(kept, tuple):
                layout, rows, contents = kept
                if layout is not self._layout:
                    self._begin(layout)
                add_rows(rows)
                add_contents(contents)
            elif kept is None:
                if self._layout is not None:
                    self._close()
                self._blank += len(report.settled)
            else:
                self._close()
                self._parts.append(kept)
        self._pack()
        if sum(map(len, self._packed)) >= MOST_BYTES:
            self._close()

    def statistics(self) -> Statistics | None:
        """Of all requests so far; None where there is nothing to tell of any."""
        if not self._parts and self._layout is None:
            return None
        self._close()
        return Statistics.joined(self._parts)

    def _begin(self, layout: Layout) -> None:
        """The next batch has another layout than the one before."""
        if self._layout is not None and layout.is_like(self._layout):
            self._runs.append((self._layout, len(self._rows)))
        else:
            self._close()
            self._packed.extend(bytearray() for _ in layout.names)
        self._layout = layout

    def _pack(self) -> None:
        """Copy the bytes together: what is kept for a second as objects is read from cold memory then."""
        for place, packed in enumerate(self._packed):
            packed.extend(b"".join([contents[place] for contents in self._contents]))
        self._contents.clear()

    def _close(self) -> None:
        """Make a part of what was gathered since the last one."""
        if self._layout is not None:
            self._pack()
            runs = [*self._runs, (self._layout, len(self._rows))]
            self._parts.append(summarised(runs, self._rows, self._packed))
            self._layout = None
            for emptied in (self._runs, self._rows, self._packed):
                emptied.clear()
        elif self._blank:
            self._parts.append(Statistics.none(self._blank))
            self._blank = 0
