"""What was found out about a request, remembered for those that look like it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

Plan = TypeVar("Plan")

_MAX_FORM_BYTES = 4_096
_MAX_FORMS = 1_024
_MAX_SHAPES = 4
"""Places of the contents that are tried for a length."""
_RAW_CONTENTS = 7
"""Number of the field ``raw_input_contents`` in ``inference.ModelInferRequest``."""


class KnownForms(Generic[Plan]):
    """Plans, what is to be done with a request, by form: its bytes but for the contents of the tensors at its end.

    A message is parsed from its start to its end. So where two messages of one length have the same bytes up to the
    contents, and these are the last fields of one, at the same places of the same sizes, they are so of the other, and
    both say the same of everything else. Nothing else about the form of a message is taken for granted.
    """

    def __init__(self) -> None:
        self._by_length: dict[int, list[tuple[tuple[slice, ...], dict[bytes, Plan]]]] = {}
        self._count = 0

    def recall(self, message: bytes | memoryview) -> Plan | None:
        """The plan of a message whose form is known."""
        for cuts, plans in self._by_length.get(len(message), ()):
            form = bytes(message[cuts[0]]) if len(cuts) == 1 else b"".join([message[cut] for cut in cuts])
            plan = plans.get(form)
            if plan is not None:
                return plan
        return None

    def learn(self, message: bytes | memoryview, raw: Sequence[bytes], plan: Plan) -> None:
        """Remember the plan of a message that was parsed and checked; ``raw`` are the contents found in it.

        The plan must not depend on the contents themselves. What isn't certain to have a form is not remembered.
        """
        cuts = form_of(message, raw)
        if not cuts or sum(cut.stop - cut.start for cut in cuts) > _MAX_FORM_BYTES:
            return
        if self._count >= _MAX_FORMS:
            self._by_length.clear()
            self._count = 0
        shapes = self._by_length.setdefault(len(message), [])
        plans = next((plans for known, plans in shapes if known == cuts), None)
        if plans is None:
            if len(shapes) >= _MAX_SHAPES:
                return
            plans = {}
            shapes.append((cuts, plans))
        plans[b"".join([message[cut] for cut in cuts])] = plan
        self._count += 1


def form_of(message: bytes | memoryview, raw: Sequence[bytes]) -> tuple[slice, ...]:
    """Where a message is form, if its last fields are ``raw``, each of which lies behind a piece; else nothing."""
    tags = [bytes((_RAW_CONTENTS << 3 | 2,)) + _varint(len(one)) for one in raw]
    end = len(message) - sum(map(len, raw)) - sum(map(len, tags))
    if end < 0 or not _are_whole_fields(message, end):
        return ()
    cuts, start = [], 0
    for tag, content in zip(tags, raw, strict=True):
        if message[end : end + len(tag)] != tag:
            return ()
        cuts.append(slice(start, end + len(tag)))
        start = end + len(tag) + len(content)
        end = start
    return tuple(cuts)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _are_whole_fields(message: bytes | memoryview, end: int) -> bool:
    """Whether a message's first bytes are fields from first to last, of the kinds that a length says the end of."""
    at = 0
    while at < end:
        tag, at = _read_varint(message, at)
        if tag & 7 != 2 or tag >> 3 == _RAW_CONTENTS:
            return False
        length, at = _read_varint(message, at)
        at += length
    return at == end


def _read_varint(message: bytes | memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while message[at] & 0x80:
        value |= (message[at] & 0x7F) << shift
        shift += 7
        at += 1
    return value | message[at] << shift, at + 1
