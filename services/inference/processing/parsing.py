"""A manifest's steps as operations: names and arguments are checked against what operations declare."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Literal, get_args, get_origin, get_type_hints

from services.inference.domain.manifest import Step
from services.inference.processing.operation import Operation, StepError

_WORDS = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}


@dataclasses.dataclass(frozen=True, slots=True)
class Place:
    """Where a step stands, for people: "preprocessing", 1 for the first, and its operation."""

    role: str
    number: int
    operation: str

    @contextmanager
    def named(self) -> Iterator[None]:
        """Lets errors say where."""
        try:
            yield
        except StepError as error:
            raise StepError(f"step {self.number} of {self.role} ({self.operation}): {error}") from error


Steps = Sequence[tuple[Place, Operation]]


def parse(steps: Sequence[Step], operations: Mapping[str, type[Operation]], role: str) -> Steps:
    """Each step's operation, with its place.

    Raises:
        StepError: there is no such operation, or its arguments are others than these.
    """
    found = []
    for number, step in enumerate(steps, 1):
        place = Place(role, number, step.operation)
        with place.named():
            if (kind := operations.get(step.operation)) is None:
                raise StepError(f"got operation {step.operation!r}, expected one of {', '.join(sorted(operations))}")
            found.append((place, _operation(kind, step.arguments)))
    return found


def _operation(kind: type[Operation], arguments: Mapping[str, Any]) -> Operation:
    hints, fields = get_type_hints(kind), {one.name: one for one in dataclasses.fields(kind)}
    if strangers := arguments.keys() - fields.keys():
        raise StepError(f"got argument {min(strangers)!r}, expected some of {', '.join(fields)}")
    needed = [name for name, one in fields.items() if one.default is dataclasses.MISSING]
    if missing := [name for name in needed if name not in arguments]:
        raise StepError(f"expected argument {missing[0]!r}, got {', '.join(arguments) or 'none'}")
    try:
        return kind(**{name: _value(name, value, hints[name]) for name, value in arguments.items()})
    except ValueError as error:
        raise StepError(str(error)) from error


def _value(name: str, value: Any, kind: Any) -> Any:
    """The value as its kind; JSON has whole numbers as others."""
    if get_origin(kind) is tuple:
        return _values(name, value, get_args(kind))
    if get_origin(kind) is Literal:
        if value not in (choices := get_args(kind)):
            raise ValueError(f"got {name} = {value!r}, expected one of {', '.join(choices)}")
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if kind is int and is_number and value == int(value):
        return int(value)
    if kind is float and is_number:
        return float(value)
    if kind in (int, float) or not isinstance(value, kind):
        raise ValueError(f"got {name} = {value!r}, expected {_WORDS[kind]}")
    return value


def _values(name: str, value: Any, kinds: tuple[Any, ...]) -> tuple[Any, ...]:
    count = "" if kinds[-1] is Ellipsis else f"{len(kinds)} of these: "
    if not isinstance(value, list | tuple) or (count and len(value) != len(kinds)):
        raise ValueError(f"got {name} = {value!r}, expected a list, {count or 'each '}{_WORDS[kinds[0]]}")
    return tuple(_value(name, one, kinds[0]) for one in value)
