"""What goes wrong with a model, said to its author or to a caller."""

from __future__ import annotations

import re
from collections.abc import Mapping

from services.common.errors import PenstockError


class LoadError(Exception):
    """A model can't be served; the message says why, for its author."""


class RunError(Exception):
    """A model failed on its input; the message is fit for the caller."""


class InputError(RunError):
    """Rows of an input are not what they should be, whatever the model: their callers are told, the others served."""

    def __init__(self, name: str, rows: Mapping[int, str]) -> None:
        """``rows`` are the wrong ones, each with what was got and what was expected."""
        self.name = name
        self.rows = rows
        super().__init__(self.message(min(rows)))

    def message(self, row: int, *, first_row: int = 0) -> str:
        """What is wrong with a row, for a caller whose first one is ``first_row``."""
        return f"input {self.name!r}, row {row - first_row}: {self.rows[row]}"


class RefusedError(RunError):
    """The model says that its input is wrong, but not whose rows: those of a caller who is alone with it."""


class ElsewhereError(RunError):
    """Whoever runs the model elsewhere didn't, for a reason that has a status of its own: ``error``.

    ``is_of_input``: other rows may fare better. Else they won't, by themselves or together.
    """

    def __init__(self, error: PenstockError, *, is_of_input: bool = False) -> None:
        super().__init__(error.message)
        self.error = error
        self.is_of_input = is_of_input


class DeviceLostError(BaseException):
    """A device takes nothing more from this process, which must end: whatever it has in hand is run by another one.

    No Exception, lest it be taken for a model's failure on one input.
    """


_PATH = re.compile(r"(?<![\w.])(?:/[\w.+\-]+){2,}/?")


def public_message(error: BaseException, *, limit: int = 500) -> str:
    """The text of a library's error without paths of this machine, on one line."""
    text = " ".join(_PATH.sub("…", str(error)).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
