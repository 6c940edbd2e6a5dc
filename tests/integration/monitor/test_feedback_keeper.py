"""Labels and answers in any order, and what the keeper makes of them: each label counts once, or not at all."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.common.errors import InvalidArgumentError, ResourceExhaustedError, UnavailableError
from services.monitor import feedback_keeper
from services.monitor.adapters.prediction_store import PredictionStore
from services.monitor.domain.quality import waiting
from services.monitor.domain.quality.labels import Judgement, Label, LabelOutcome
from services.monitor.domain.quality.predictions import Prediction, Predictions
from services.monitor.feedback_keeper import MAX_CALLS, WAIT_NS, FeedbackKeeper
from tests.support.monitor_database import prediction_store, url_of

NOW_NS = 2**60


class Terms:
    """What the registry would say."""

    is_expected: bool | None = True

    def tells_predictions(self, _model: str) -> bool | None:
        return self.is_expected

    def retention_ns(self, _model: str) -> int:
        return 3_600 * 10**9

    def class_names(self, _model: str, _version: str) -> Sequence[str]:
        return ()


class World:
    """A keeper, and what it taught."""

    def __init__(self, store: PredictionStore, **options: Any) -> None:
        self.now_ns = NOW_NS
        self.terms = Terms()
        self.learnt: list[tuple[Prediction, Label, Judgement]] = []
        self.keeper = FeedbackKeeper(
            store,
            terms=self.terms,
            learn=lambda *one: self.learnt.append(one),
            clock=lambda: self.now_ns,
            **{"max_predictions": 10_000, **options},
        )

    def tell(self, *keys: int, predicted: int = 0, version: str = "1") -> None:
        count = len(keys)
        self.keeper.take(
            Predictions(
                "m",
                version,
                self.now_ns,
                np.array(keys, "<i8"),
                np.full(count, predicted, "<i4"),
                np.full(count, 0.9, "<f4"),
                np.full(count, np.nan),
                np.zeros((count, 0), "<f2"),
            )
        )

    async def label(self, *keys: int, truth: int = 0, time_ns: int | None = None) -> list[LabelOutcome]:
        at = self.now_ns if time_ns is None else time_ns
        verdicts = await self.keeper.record([Label("m", key, at, class_index=truth) for key in keys])
        return [one.outcome for one in verdicts]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., World]]:
    with prediction_store(url_of(tmp_path)) as store:
        yield lambda **options: World(store, **options)


_EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("tell"), st.integers(0, 5), st.integers(0, 1)),
        st.tuples(st.just("label"), st.integers(0, 5), st.integers(0, 1)),
        st.tuples(st.just("write"), st.just(0), st.just(0)),
        st.tuples(st.just("restart"), st.just(0), st.just(0)),
        st.tuples(st.just("flood"), st.integers(0, 5), st.integers(0, 1)),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(events=_EVENTS)
def test_whatever_the_order_a_label_counts_once_with_the_answer_that_was_given(
    events: list[tuple[str, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    with prediction_store(url_of(tmp_path_factory.mktemp("feedback"))) as store:
        asyncio.run(_live(store, events))


async def _live(store: PredictionStore, events: list[tuple[str, int, int]]) -> None:
    world, learnt = World(store), list[tuple[Prediction, Label, Judgement]]()
    answers: dict[int, set[int]] = {}
    labelled: dict[int, int] = {}
    for event, key, value in [*events, ("write", 0, 0)]:
        if event == "tell":
            world.tell(key, predicted=value)
            answers.setdefault(key, set()).add(value)
        elif event in ("write", "restart"):
            await world.keeper.write()  # as the monitor does when it stops
            if event == "restart":
                learnt += world.learnt
                world = World(store)
                await world.keeper.adopt()
        else:
            outcomes = await world.label(*[key] * (3 if event == "flood" else 1), truth=value)
            taken = [one for one in outcomes if one in (LabelOutcome.JOINED, LabelOutcome.PENDING)]
            assert len(taken) <= (key not in labelled)
            labelled |= {key: value} if taken else {}
    _check([*learnt, *world.learnt], answers, labelled)


def _check(
    learnt: Sequence[tuple[Prediction, Label, Judgement]], answers: dict[int, set[int]], labelled: dict[int, int]
) -> None:
    assert len({prediction.key for prediction, _, _ in learnt}) == len(learnt)
    for prediction, label, judgement in learnt:
        assert label.class_index == labelled[prediction.key]
        assert prediction.predicted in answers[prediction.key]
        assert judgement.loss == float(prediction.predicted != label.class_index)
    # What is told once, alike, and has a label that was taken, is joined in the end.
    for key, value in labelled.items():
        if len(answers.get(key, ())) == 1:
            assert [one.class_index for _, one, _ in learnt if one.key == key] == [value]


async def test_labels_wait_for_a_while_and_no_longer(make: Callable[..., World]) -> None:
    world = make()
    assert await world.label(1) == [LabelOutcome.PENDING]
    world.now_ns += WAIT_NS + 1
    await world.keeper.expire()

    assert world.keeper.waiting == 0
    assert world.keeper.labels["expired"] == 1
    assert await world.label(1) == [LabelOutcome.PENDING]
    assert await world.label(2, time_ns=world.now_ns - WAIT_NS - 1) == [LabelOutcome.UNKNOWN]


async def test_labels_of_unknown_requests_find_no_room_beyond_a_limit_and_others_go_on(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waiting, "MAX_WAITING_OF_MODEL", 10)
    world = make()
    world.tell(1_000)
    await world.keeper.write()

    outcomes = Counter(await world.label(*range(100)))

    assert outcomes == {LabelOutcome.PENDING: 10, LabelOutcome.UNKNOWN: 90}
    assert world.keeper.waiting == 10
    assert await world.label(1_000) == [LabelOutcome.JOINED]


async def test_too_many_calls_are_pushed_back(make: Callable[..., World]) -> None:
    world = make()
    calls = [asyncio.create_task(world.label(number)) for number in range(MAX_CALLS + 3)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)

    assert [isinstance(one, ResourceExhaustedError) for one in outcomes] == [False] * MAX_CALLS + [True] * 3


async def test_answers_that_are_too_many_to_be_written_are_dropped_and_counted(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback_keeper, "_MAX_UNWRITTEN", 10)
    world = make()
    world.tell(*range(8))
    world.tell(*range(8, 16))
    await world.keeper.write()

    assert world.keeper.predictions == {"kept": 8, "ambiguous": 0, "dropped": 8, "expired": 0, "evicted": 0}
    world.tell(20)
    await world.keeper.write()
    assert world.keeper.kept == 9


async def test_a_label_of_a_model_that_keeps_no_answers_is_refused_with_a_way_out(make: Callable[..., World]) -> None:
    world = make()
    world.terms.is_expected = False
    (verdict,) = await world.keeper.record([Label("m", 1, NOW_NS, class_index=0)])

    assert verdict.outcome is LabelOutcome.REFUSED
    assert "--feedback" in verdict.reason


async def test_both_versions_that_answered_one_request_learn_from_its_label(make: Callable[..., World]) -> None:
    world = make()
    world.tell(1, predicted=0)
    world.tell(1, predicted=1, version="2")
    await world.keeper.write()
    await world.label(1, truth=0)

    assert {(prediction.version, judgement.loss) for prediction, _, judgement in world.learnt} == {("1", 0), ("2", 1)}


async def test_what_a_database_that_fails_was_told_is_written_later(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make()
    world.tell(1, 2)

    def fail(*_: object) -> None:
        raise UnavailableError("away")

    with monkeypatch.context() as broken:
        broken.setattr(PredictionStore, "add", fail)
        with pytest.raises(UnavailableError):
            await world.keeper.write()
        broken.setattr(PredictionStore, "join", fail)
        broken.setattr(PredictionStore, "find", fail)
        with pytest.raises(UnavailableError):
            await world.label(1)
    await world.keeper.write()

    assert await world.label(1, 2) == [LabelOutcome.JOINED] * 2


async def test_labels_of_a_caller_who_goes_away_are_learnt_from_as_they_are_noted(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make()
    world.tell(1)
    await world.keeper.write()
    began, join = threading.Event(), PredictionStore.join

    def join_slowly(*args: Any, **kwargs: Any) -> None:
        began.set()
        time.sleep(0.2)
        join(*args, **kwargs)

    monkeypatch.setattr(PredictionStore, "join", join_slowly)
    recording = asyncio.create_task(world.label(1, 2))
    await asyncio.to_thread(began.wait)
    recording.cancel()
    with pytest.raises(asyncio.CancelledError):
        await recording

    assert await world.label(1, 2) == [LabelOutcome.DUPLICATE] * 2
    assert (len(world.learnt), world.keeper.waiting) == (1, 1)


async def test_what_a_database_will_never_take_is_dropped_and_the_rest_goes_on(
    make: Callable[..., World], monkeypatch: pytest.MonkeyPatch
) -> None:
    world = make()

    def refuse(*_: object) -> None:
        raise InvalidArgumentError("no")

    with monkeypatch.context() as broken:
        broken.setattr(PredictionStore, "add", refuse)
        world.tell(1, 2)
        await world.keeper.write()
    world.tell(3)
    await world.keeper.finish()

    assert (world.keeper.predictions["dropped"], world.keeper.kept) == (2, 1)


async def test_a_thousand_labels_are_joined_in_a_moment(make: Callable[..., World]) -> None:
    world = make(max_predictions=100_000)
    for start in range(0, 20_000, 4_000):
        world.tell(*range(start, start + 4_000))
    await world.keeper.write()

    began = time.perf_counter()
    assert await world.label(*range(5_000, 6_000)) == [LabelOutcome.JOINED] * 1_000
    assert time.perf_counter() - began < 2
