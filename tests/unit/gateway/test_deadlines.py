from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.gateway.domain.deadlines import DeadlineQueue


def test_a_key_is_due_soon_after_its_deadline_and_not_before() -> None:
    queue = DeadlineQueue(resolution_s=0.01)
    queue.add(1, 100.004)
    assert queue.take_due(100.004) == []
    assert queue.take_due(100.0101) == [1]
    assert queue.next_due() is None


def test_only_an_earlier_tick_asks_for_the_timer() -> None:
    queue = DeadlineQueue()
    assert queue.add(1, 20.0)
    assert not queue.add(2, 20.0)
    assert not queue.add(3, 30.0)
    assert queue.add(4, 10.0)


def test_removing_twice_or_what_was_never_there_is_nothing() -> None:
    queue = DeadlineQueue()
    queue.add(1, 10.0)
    queue.remove(1, 10.0)
    queue.remove(1, 10.0)
    queue.remove(2, 11.0)
    assert queue.next_due() is None


@given(
    st.lists(st.tuples(st.floats(0, 100), st.booleans()), max_size=50),
    st.lists(st.floats(0, 120), max_size=10),
)
def test_every_key_comes_out_once_in_time_or_was_removed(keys: list[tuple[float, bool]], checks: list[float]) -> None:
    queue = DeadlineQueue(resolution_s=0.5)
    for key, (deadline, _) in enumerate(keys):
        queue.add(key, deadline)
    for key, (deadline, is_removed) in enumerate(keys):
        if is_removed:
            queue.remove(key, deadline)
    out: list[int] = []
    for now in [*sorted(checks), 200.0]:
        for key in queue.take_due(now):
            assert keys[key][0] <= now
            out.append(key)
        due = queue.next_due()
        assert due is None or due > now
        late = [key for key, (deadline, is_removed) in enumerate(keys) if not is_removed and deadline + 0.5 <= now]
        assert set(late) <= set(out)
    assert sorted(out) == [key for key, (_, is_removed) in enumerate(keys) if not is_removed]
