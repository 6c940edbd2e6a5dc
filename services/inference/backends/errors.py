"""What goes wrong with a model, said to its author or to a caller."""

from __future__ import annotations

import re


class LoadError(Exception):
    """A model can't be served; the message says why, for its author."""


class RunError(Exception):
    """A model failed on its input; the message is fit for the caller."""


class DeviceLostError(BaseException):
    """A device takes nothing more from this process, which must end: whatever it has in hand is run by another one.

    No Exception, lest it be taken for a model's failure on one input.
    """


_PATH = re.compile(r"(?<![\w.])(?:/[\w.+\-]+){2,}/?")


def public_message(error: BaseException, *, limit: int = 500) -> str:
    """The text of a library's error without paths of this machine, on one line."""
    text = " ".join(_PATH.sub("…", str(error)).split()) or type(error).__name__
    return text if len(text) <= limit else text[: limit - 1] + "…"
