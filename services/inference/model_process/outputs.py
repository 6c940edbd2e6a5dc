"""What a model gave for a batch, and what all batches of one shape have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from services.common.datatypes import Datatype
from services.inference.backends import Array

MOST_CLASSES = 10_000


@dataclass(slots=True)
class Column:
    """An output of a batch: its bytes in one piece where its elements have a fixed size, and how many a row takes.

    ``shape`` and ``size`` are those of one row where the model is batchable, else of the whole.
    """

    array: Array
    content: bytes | memoryview | None
    shape: tuple[int, ...]
    size: int


@dataclass(frozen=True, slots=True, eq=False)  # told apart by identity, which takes no time
class Layout:
    """The floating-point outputs of batches of one shape.

    ``sizes`` are the elements that each has for a row, or for a request where the model is not batchable; ``row_bytes``
    is what all of them take. ``classes`` are the elements of a row of the first one, if its rows are lists of 2 to
    10,000 numbers, as those of classifiers are; else 0.
    """

    names: tuple[str, ...]
    datatypes: tuple[Datatype, ...]
    sizes: tuple[int, ...]
    row_bytes: int
    classes: int

    def is_like(self, other: Layout) -> bool:
        """Whether both are looked at in the same way: all but sizes agrees."""
        return self.classes == other.classes and self.names == other.names


def layout_of(columns: Mapping[str, Column], kinds: Mapping[str, Datatype], *, is_batchable: bool) -> Layout | None:
    """``kinds`` are the data types of outputs. None where none of these has floating-point numbers."""
    names = tuple(name for name in columns if kinds[name].is_float)
    if not names:
        return None
    first = columns[names[0]]
    sizes = tuple(columns[name].size // kinds[name].itemsize for name in names)
    # Without batches, a row is what the first dimension counts, if it looks like that.
    is_table = len(first.shape) == (1 if is_batchable else 2) and bool(sizes[0])
    return Layout(
        names,
        tuple(kinds[name] for name in names),
        sizes,
        sum(columns[name].size for name in names),
        first.shape[-1] if is_table and 2 <= first.shape[-1] <= MOST_CLASSES else 0,
    )


Head = list[tuple[str, bytes]]
"""Of a response: the names of its outputs, each with all that precedes its contents."""
Heads = dict[tuple[tuple[str, ...], int], Head]
"""By the names that were asked for, and rows."""


@dataclass(slots=True)
class Outputs:
    """What a model gave for a batch. ``heads`` are known beginnings of responses.

    ``layout`` is None where nothing is to be told of the answers.
    """

    arrays: Mapping[str, Array]
    columns: dict[str, Column]
    heads: Heads
    layout: Layout | None
