"""UBJSON is read as its specification has it, and whatever else comes is refused."""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.inference.backends import ubjson


@pytest.mark.parametrize(
    ("content", "value"),
    [
        (b"i\xff", -1),
        (b"U\xff", 255),
        (b"I\x01\x00", 256),
        (b"l\x00\x01\x00\x00", 65536),
        (b"L\x00\x00\x00\x01\x00\x00\x00\x00", 2**32),
        (b"d\x3f\x80\x00\x00", 1.0),
        (b"D\x3f\xf0\x00\x00\x00\x00\x00\x00", 1.0),
        (b"Si\x02\xc3\xa9", "é"),
        (b"[TFZ]", [True, False, None]),
        (b"[#i\x02i\x01T", [1, True]),
        (b"{i\x01a[i\x01]i\x01b{}}", {"a": [1], "b": {}}),
    ],
)
def test_values_are_read(content: bytes, value: Any) -> None:
    assert ubjson.parse(content) == value


def test_an_array_of_one_type_is_an_array() -> None:
    np.testing.assert_array_equal(ubjson.parse(b"[$I#i\x02\x00\x01\xff\xff"), [1, -1])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "byte 0 announces 1 bytes, 0 are left"),
        (b"[$I#L\x7f\xff\xff\xff\xff\xff\xff\xff", "announces"),
        (b"[$I#i\xff", "byte 6 announces -2 bytes"),
        (b"[$S#i\x01", "no type of an array's numbers"),
        (b"Sd\x00\x00\x00\x00", "no length"),
        (b"i\x01i", "1 bytes follow its end"),
        (b"{i\x01aTi\x01aF}", "it has 'a' twice"),
        (b"[" * 200, "nested deeper than 64 levels"),
    ],
)
def test_what_is_not_whole_is_refused(content: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ubjson.parse(content)


@given(st.binary(max_size=64) | st.lists(st.sampled_from(list(b"{}[]$#SiLUd\x00\x01\xff")), max_size=64).map(bytes))
def test_nothing_else_happens_whatever_comes(content: bytes) -> None:
    with contextlib.suppress(ValueError):
        ubjson.parse(content)
