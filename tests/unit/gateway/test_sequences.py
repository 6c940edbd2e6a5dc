from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.domain.sequences import SequenceWindow


def test_what_comes_twice_is_new_once() -> None:
    window = SequenceWindow()
    assert [window.accept(number) for number in (1, 2, 2, 1, 3)] == [True, True, False, False, True]
    assert window.contiguous == 3


def test_a_sender_that_was_known_to_another_gateway_may_start_anywhere() -> None:
    window = SequenceWindow()
    assert window.accept(41)
    assert window.contiguous == 41


def test_a_gap_holds_the_receipt_back() -> None:
    window = SequenceWindow()
    assert window.accept(1)
    assert window.accept(3)
    assert not window.accept(3)
    assert window.contiguous == 1
    assert window.accept(2)
    assert window.contiguous == 3


@given(st.permutations(range(2, 12)), st.lists(st.integers(1, 11), max_size=20))
def test_each_number_is_new_exactly_once(order: list[int], repeats: list[int]) -> None:
    window = SequenceWindow()
    new = [number for number in [1, *order, *repeats] if window.accept(number)]
    assert sorted(new) == list(range(1, 12))
    assert window.contiguous == 11
