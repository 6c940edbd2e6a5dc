"""What a step is: an operation with its arguments, bound to the tensors that it works on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from services.common.datatypes import DATATYPES, bfloat16_as_floats
from services.inference.backends.backend import Array
from services.inference.backends.errors import LoadError
from services.inference.backends.files import ModelFiles
from services.inference.domain.signature import TensorSpec

LIBRARIES = {"pillow": "PIL", "tokenizers": "tokenizers"}
"""What penstock[processing] has for steps: packages, and the modules that tell whether they are there."""


class StepError(LoadError):
    """A step can't be what the manifest says; the message has what was got and what was expected."""


@dataclass(frozen=True, slots=True)
class Bound:
    """A step among the tensors that it works on.

    ``call`` takes the arrays of ``reads`` and gives those of ``gives``, both in order; it raises RunError for a batch
    that it can't process, InputError for rows of it. ``examples`` are contents of what it reads, to try the model with.
    """

    reads: tuple[str, ...]
    gives: tuple[TensorSpec, ...]
    call: Callable[..., Sequence[Array]]
    examples: tuple[bytes, ...] = ()


class Scope:
    """The tensors that there are between two steps."""

    def __init__(self, specs: Iterable[TensorSpec], *, opens: Mapping[str, TensorSpec], rows: int = -1) -> None:
        """``opens`` are the tensors that callers send where a step reads them before one makes them.

        ``rows`` is the first dimension of whatever else they send.
        """
        self.rows = rows
        self.current = ""
        """The tensor that a step works on which doesn't say on which."""
        self.specs = {spec.name: spec for spec in specs}
        self.opened: dict[str, TensorSpec] = {}
        self._opens = opens

    def open(self, spec: TensorSpec) -> None:
        """From here on it is sent by callers."""
        self.opened[spec.name] = self.specs[spec.name] = spec

    def named(self, name: str = "") -> TensorSpec:
        """A tensor, or the current one.

        Raises:
            StepError: there is none of that name.
        """
        name = name or self.current
        if name not in self.specs and name in self._opens:
            self.open(self._opens[name])
        if name not in self.specs:
            known = ", ".join(map(repr, (*self.specs, *(one for one in self._opens if one not in self.specs))))
            raise StepError(f"got input {name!r}, expected one of {known or 'none'}")
        return self.specs[name]

    def sent(self, name: str) -> TensorSpec:
        """A tensor of one BYTES element a row, which callers send unless a step gave it.

        Raises:
            StepError: it is something else.
        """
        if name not in self.specs:
            self.open(TensorSpec(name, "BYTES", (self.rows,)))
        spec = self.specs[name]
        if spec.datatype != "BYTES" or len(spec.shape) != 1:
            raise StepError(f"got input {shown(spec)}, expected BYTES with one element a row")
        return spec


@dataclass(frozen=True, kw_only=True)
class Operation(ABC):
    """One kind of step. Its fields are its arguments: str, int, float, bool, a Literal of strings, or tuples of these.

    ``__post_init__`` raises ValueError where values can't be had together.
    """

    name: ClassVar[str]
    library: ClassVar[str] = ""
    """The one of ``LIBRARIES`` that it needs, if any."""

    @abstractmethod
    def bind(self, scope: Scope, files: ModelFiles) -> Bound:
        """The step among those tensors. ``files`` are the model's, which may have what it needs, as a tokenizer.

        Raises:
            StepError: it can't work on them.
        """


@dataclass(frozen=True, kw_only=True)
class Transformation(Operation):
    """An operation that makes one tensor of another: the current one and its place, unless told otherwise."""

    is_arithmetic: ClassVar[bool] = True
    """Whether it looks at numbers: BF16 comes as float32 then, else as it is."""

    input: str = ""
    output: str = ""

    def bind(self, scope: Scope, _files: ModelFiles) -> Bound:
        given = scope.named(self.input)
        if given.datatype == "BYTES":
            raise StepError(f"got input {shown(given)}, expected numbers")
        made = self.describe(given)
        made = TensorSpec(self.output or given.name, made.datatype, made.shape, made.labels)

        is_pattern = self.is_arithmetic and given.datatype == "BF16"

        def call(array: Array) -> list[Array]:
            return [self.compute(bfloat16_as_floats(array) if is_pattern else array)]

        return Bound((given.name,), (made,), call)

    @abstractmethod
    def describe(self, given: TensorSpec) -> TensorSpec:
        """What it makes of such a tensor; the name is not looked at. Raises: StepError: it can't."""

    @abstractmethod
    def compute(self, array: Array) -> Array:
        """What it makes of such an array, which is not to be changed."""


def shown(spec: TensorSpec) -> str:
    return f"{spec.name!r} {spec.datatype} {list(spec.shape)}"


def float_type(datatype: str) -> str:
    """What is computed with numbers of a data type: FP64 stays, all others are FP32."""
    return "FP64" if datatype == "FP64" else "FP32"


def floats(array: Array) -> Array:
    """Numbers to compute with: float64 stays, all others become float32."""
    return array if array.dtype == np.float64 else array.astype(np.float32, copy=False)


def check_datatype(datatype: str, expected: Iterable[str] = tuple(DATATYPES)) -> None:
    """Raises: ValueError: there is no such."""
    if datatype not in (known := tuple(expected)):
        raise ValueError(f"got datatype {datatype!r}, expected one of {', '.join(known)}")


def missing_library(package: str, error: ImportError) -> StepError:
    """What is said where a step's library isn't installed."""
    return StepError(f"needs {package}, which is not installed on this node ({error}): penstock[processing] has it")
