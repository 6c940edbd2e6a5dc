"""A retraining's way, and what it is asked for and may say."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from services.common.errors import InvalidArgumentError
from services.monitor.domain.blocks import NS
from services.monitor.domain.recipes import Command, Recipe
from services.monitor.domain.retraining import (
    MAX_TAIL_BYTES,
    Retraining,
    RetrainingState,
    imported,
    ran,
    request_of,
    result_of,
    tail,
    why_to_end,
)
from tests.unit.monitor.test_alerts import INCIDENT, NOW

VERSION = "models/digits/versions/4"
RUNNING = Retraining(
    retraining_id="0" * 20, model="digits", state=RetrainingState.RUNNING, detail="", policy="p", incident_id="i",
    runner="command", request="{}", token="t", create_ns=NOW, deadline_ns=NOW + 60 * NS,
)  # fmt: skip


def test_it_ends_at_its_deadline_or_after_silence_counted_from_the_last_sign_of_life() -> None:
    heard = replace(RUNNING, heartbeat_ns=NOW + 20 * NS)

    assert why_to_end(RUNNING, silence_s=0, now_ns=NOW + 59 * NS) == ""
    assert why_to_end(RUNNING, silence_s=0, now_ns=NOW + 60 * NS) == "its time was over"
    assert why_to_end(RUNNING, silence_s=10, now_ns=NOW + 10 * NS) == "it gave no sign of life for 10 s"
    assert why_to_end(heard, silence_s=10, now_ns=NOW + 29 * NS) == ""
    assert why_to_end(heard, silence_s=10, now_ns=NOW + 30 * NS) == "it gave no sign of life for 10 s"


def test_each_part_of_its_way_has_a_time_of_its_own() -> None:
    importing = ran(RUNNING, json.dumps({"path": "x"}), now_ns=NOW + 59 * NS)
    rolling_out = imported(importing, VERSION, is_rolled_out=True, now_ns=NOW + 70 * NS)
    kept = imported(importing, VERSION, is_rolled_out=False, now_ns=NOW + 70 * NS)

    assert (importing.state, importing.deadline_ns) == (RetrainingState.IMPORTING, NOW + (59 + 1_800) * NS)
    assert (rolling_out.state, rolling_out.end_ns) == (RetrainingState.ROLLING_OUT, 0)
    assert rolling_out.deadline_ns > importing.deadline_ns
    assert (kept.state, kept.end_ns, kept.model_version) == (RetrainingState.SUCCEEDED, NOW + 70 * NS, VERSION)


@pytest.mark.parametrize(
    "text",
    ["", "[]", "{}", '{"path": 3}', '{"path": "a", "model_version": "models/digits/versions/1"}',
     '{"model_version": "models/other/versions/1"}', '{"path": "a", "metrics": {"x": "y"}}', '{"path": "a\\u0000"}'],
)  # fmt: skip
def test_a_result_that_isnt_one_is_refused(text: str) -> None:
    with pytest.raises(InvalidArgumentError):
        result_of(text, model="digits")


def test_what_is_asked_for_says_why_and_which_data() -> None:
    recipe = Recipe(Command(("train",)), window_s=600, deadline_s=60)

    asked = request_of(
        "0" * 20, INCIDENT, recipe, policy="p", versions=[VERSION], trace_links=["http://jaeger/1"], now_ns=NOW
    )

    assert asked["reason"] == INCIDENT.summary
    times = ("window_begin_time", "change_time", "window_end_time", "deadline_time")
    minutes = ["22:03:20", "22:13:20", "22:14:20", "22:15:20"]
    assert [asked[name] for name in times] == [f"2023-11-14T{minute}.000Z" for minute in minutes]
    assert (asked["version"], asked["deployed_versions"]) == ("models/digits/versions/3", [VERSION])
    json.dumps(asked)


def test_the_end_of_an_output_is_kept_as_text_that_a_database_takes() -> None:
    assert tail("é" * MAX_TAIL_BYTES).encode() == "é".encode() * (MAX_TAIL_BYTES // 2)
    assert tail("a\0b") == "a\N{REPLACEMENT CHARACTER}b"
