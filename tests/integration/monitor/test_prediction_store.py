"""The store of answers that wait for labels, on each database that it is made for."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from services.monitor.adapters.prediction_store import PredictionStore
from services.monitor.domain.quality.labels import Label
from services.monitor.domain.quality.predictions import Prediction, State
from tests.support.monitor_database import prediction_store, url_of
from tests.support.postgresql import PostgresqlUnavailableError, running_postgresql

ANSWER = Prediction("digits", -(2**63), "1", "stable", 2**62, 3, 0.75, None, b"\x00\xff")
NUMBER = Prediction("prices", 2**63 - 1, "1", "canary", 2**62 + 5, -1, None, 1.5, b"")
EARLY = Label("digits", 7, 2**62, class_name="äö", slices=(("country", "de"),), metrics={"bleu": 0.5})


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.postgresql)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PredictionStore]:
    with contextlib.ExitStack() as stack:
        if request.param == "sqlite":
            url = url_of(tmp_path)
        else:
            try:
                server = stack.enter_context(running_postgresql())
            except PostgresqlUnavailableError as error:
                pytest.skip(str(error))
            url = stack.enter_context(server.database())
        yield stack.enter_context(prediction_store(url))


def test_answers_are_found_by_their_keys(store: PredictionStore) -> None:
    assert store.add([ANSWER, NUMBER, ANSWER._replace(version="2")]) == (3, 0)

    assert store.count() == 3
    assert store.find("prices", [2**63 - 1, 5]) == [NUMBER]
    assert sorted(one.version for one in store.find("digits", [ANSWER.key])) == ["1", "2"]
    assert store.find("digits", []) == []


def test_the_same_answer_told_again_is_one_and_another_is_ambiguous(store: PredictionStore) -> None:
    store.add([ANSWER, NUMBER])
    assert store.add([ANSWER._replace(time_ns=2**62 + 9), NUMBER._replace(value=1.5000001)]) == (0, 0)
    assert store.find("digits", [ANSWER.key]) == [ANSWER]

    assert store.add([ANSWER._replace(predicted=4)]) == (0, 1)
    assert store.find("digits", [ANSWER.key])[0].state is State.AMBIGUOUS


def test_what_met_its_label_stays_labelled(store: PredictionStore) -> None:
    store.add([ANSWER])
    store.join([ANSWER], waiting=[], met=[])

    assert store.find("digits", [ANSWER.key])[0].state is State.LABELLED
    store.add([ANSWER._replace(predicted=4)])
    assert store.find("digits", [ANSWER.key])[0].state is State.LABELLED


def test_labels_wait_until_they_met_or_it_is_too_late(store: PredictionStore) -> None:
    other = Label("digits", 8, 5, number=1.5)
    store.join([], waiting=[(EARLY, 2**62), (other, 10)], met=[])
    assert sorted(store.waiting(), key=lambda one: one.key) == [EARLY, other]

    assert store.expire(now_ns=11, retention_ns=lambda _: 10**18, most=10) == (0, 0, 1)
    assert store.waiting() == [EARLY]
    store.join([], waiting=[], met=[EARLY])
    assert store.waiting() == []


def test_old_answers_go_by_model_and_the_oldest_where_there_are_too_many(store: PredictionStore) -> None:
    many = [ANSWER._replace(key=number, time_ns=number) for number in range(100)]
    store.add([*many, NUMBER._replace(time_ns=0)])
    store.join(many[:5], waiting=[], met=[])

    retention = {"digits": 70, "prices": 1_000}.__getitem__
    assert store.expire(now_ns=100, retention_ns=retention, most=1_000) == (25, 0, 0)
    assert store.count() == 71
    expired, evicted, _ = store.expire(now_ns=100, retention_ns=retention, most=50)
    assert (expired, evicted) == (0, 21)
    assert store.count() == 50
