"""BYTES elements as texts."""

from __future__ import annotations

import numpy as np

from services.inference.backends.backend import Array
from services.inference.backends.errors import InputError


def texts_of(name: str, array: Array) -> Array:
    """The elements of a BYTES input as strings, in its shape.

    Raises:
        InputError: some aren't UTF-8.
    """
    texts = np.empty(array.size, dtype=object)
    refused: dict[int, str] = {}
    elements_per_row = array.size // max(1, len(np.atleast_1d(array)))
    for at, element in enumerate(array.ravel()):
        try:
            texts[at] = element.decode()
        except UnicodeDecodeError as error:
            refused.setdefault(at // elements_per_row, no_text(error))
    if refused:
        raise InputError(name, refused)
    return texts.reshape(array.shape)


def no_text(error: UnicodeDecodeError) -> str:
    """What is wrong with bytes that aren't UTF-8, for their sender."""
    return f"got bytes that are not UTF-8 ({error.reason} at {error.start}), expected a text"
