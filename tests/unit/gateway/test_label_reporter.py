"""Labels over REST are read as the API's own, or refused."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidArgumentError
from services.gateway.adapters.label_reporter import read_labels


def test_labels_get_the_model_of_the_path() -> None:
    body = {
        "labels": [
            {"request_id": "a", "class_index": 3, "row": 2, "slices": {"country": "de"}, "metrics": {"bleu": 0.5}},
            {"requestId": "b", "number": 1.5, "label_time": "2026-01-02T03:04:05Z"},
        ]
    }
    first, second = read_labels("digits", json.dumps(body).encode()).labels

    assert (first.model, first.request_id, first.row, first.class_index) == ("digits", "a", 2, 3)
    assert (dict(first.slices), dict(first.metrics)) == ({"country": "de"}, {"bleu": 0.5})
    assert (second.model, second.number, second.label_time.seconds) == ("digits", 1.5, 1_767_323_045)


def test_a_label_may_come_alone() -> None:
    assert read_labels("digits", b'{"request_id": "a", "class_name": "cat"}').labels[0].class_name == "cat"


@given(body=st.one_of(st.binary(max_size=100), st.recursive(
    st.none() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["labels", "request_id", "number", "row", "slices", "x"]), inner, max_size=3), max_leaves=8
).map(lambda document: json.dumps(document).encode())))  # fmt: skip
def test_any_body_is_labels_or_refused(body: bytes) -> None:
    try:
        request = read_labels("digits", body)
    except InvalidArgumentError:
        return
    assert all(label.model == "digits" for label in request.labels)


def test_too_large_a_body_is_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="send fewer at once"):
        read_labels("digits", b" " * (5 << 20))
