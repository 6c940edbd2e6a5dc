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
    assert window.accept(41, is_first_of_stream=True)
    assert window.contiguous == 41


def test_what_a_sender_gave_up_between_two_streams_is_not_waited_for() -> None:
    window = SequenceWindow()
    assert [window.accept(number) for number in (1, 2, 5)] == [True, True, True]
    assert window.accept(4, is_first_of_stream=True)
    assert window.contiguous == 5
    assert not window.accept(5)
    assert window.accept(9, is_first_of_stream=True)
    assert window.contiguous == 9


def test_a_stream_that_begins_with_what_was_there_changes_nothing() -> None:
    window = SequenceWindow()
    assert [window.accept(number) for number in (1, 2, 3)] == [True, True, True]
    assert not window.accept(2, is_first_of_stream=True)
    assert window.contiguous == 3


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
