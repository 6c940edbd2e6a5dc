"""What follows from looks at a source: pure rules, without clock or disk."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.common.errors import InvalidArgumentError
from services.common.trust import Outcome
from services.registry.domain import source_progress, sources, webhooks
from services.registry.domain.resources import Artifact, ModelVersion, Trust, VersionState
from services.registry.domain.source_progress import Progress
from services.registry.domain.sources import Location, Source, SourceState, SourceTrust
from services.registry.source_check import messages, trees
from services.registry.source_check.folder_place import newest_number
from services.registry.source_check.trees import Entry, Listing, UnsettledError

FOLDER = Location("folder", {"path": "/models"})
SOURCE = sources.normalise(Source(id="one", model="digits", location=FOLDER))
NOTHING = Progress()
VERSION = "models/digits/versions/1"


def brought(progress: Progress = NOTHING, *, version: str = VERSION, seen: str = "a") -> Progress:
    return source_progress.brought(progress, version, now_ns=1, seen=seen, revision="r", is_new=True)


def test_defaults_are_written_out() -> None:
    assert (SOURCE.poll_ns, SOURCE.settle_ns, SOURCE.check_ns) == (30 * 10**9, 2 * 10**9, 600 * 10**9)
    mlflow = Location("mlflow", {"tracking_uri": "http://x", "registered_model": "m"})
    assert sources.normalise(replace(SOURCE, location=mlflow)).location.fields["alias"] == "champion"
    assert sources.normalise(replace(SOURCE, settle_ns=0)).settle_ns == 0


@pytest.mark.parametrize(("field", "value"), [("poll_ns", 1), ("settle_ns", 10**13), ("check_ns", 10**15)])
def test_spans_have_limits(field: str, value: int) -> None:
    with pytest.raises(InvalidArgumentError, match="expected"):
        sources.normalise(replace(SOURCE, **{field: value}))


def test_a_source_is_due_at_once_then_after_its_time_and_when_a_clock_was_set_back() -> None:
    def is_due(*, checked_ns: int, now_ns: int) -> bool:
        progress = Progress(check_time_ns=checked_ns)
        return sources.is_due(replace(SOURCE, progress=progress), now_ns=now_ns)

    now = 10**18
    assert is_due(checked_ns=0, now_ns=now)
    assert not is_due(checked_ns=now - 1, now_ns=now)
    assert is_due(checked_ns=now - SOURCE.poll_ns, now_ns=now)
    assert is_due(checked_ns=now + 1, now_ns=now)
    assert not sources.is_due(replace(SOURCE, is_paused=True), now_ns=now)


def test_the_same_failure_again_is_no_event_and_its_end_is_one() -> None:
    progress = source_progress.failed(Progress(), now_ns=1, why="away")
    progress = source_progress.failed(progress, now_ns=2, why="away")
    assert [one.text for one in progress.events] == ["away"]
    assert replace(SOURCE, progress=progress).state is SourceState.FAILING

    progress = source_progress.looked(progress, now_ns=3)
    assert [one.text for one in progress.events] == ["away", "it can be looked at again"]
    assert replace(SOURCE, progress=progress).state is SourceState.WATCHING


def test_a_refusal_outlives_looks_that_find_the_same() -> None:
    progress = source_progress.refused(Progress(), now_ns=1, seen="a", revision="1", why="no model")
    progress = source_progress.looked(progress, now_ns=2)
    source = replace(SOURCE, progress=progress)
    assert (source.state, source.state_reason, progress.seen) == (SourceState.FAILING, "no model", "a")


def test_what_is_waited_for_is_told_until_it_is_not() -> None:
    arrived = source_progress.concluded(brought(), "version 1 is READY", now_ns=2)
    waits = source_progress.looked(arrived, now_ns=3, waiting="x.tmp looks half-written")
    assert replace(SOURCE, progress=waits).state_reason == "x.tmp looks half-written"
    assert replace(SOURCE, progress=source_progress.looked(waits, now_ns=4)).state_reason == "version 1 is READY"


def test_what_is_newer_takes_the_place_of_what_is_on_its_way() -> None:
    progress = brought(brought(), version="models/digits/versions/2", seen="b")
    assert progress.bringing == "models/digits/versions/2"
    assert progress.events[-1].text == "version 2 was made of it, which takes the place of version 1"


def test_what_has_arrived_is_no_longer_on_its_way() -> None:
    done = source_progress.concluded(brought(), "version 1 is deployed", now_ns=2)
    assert (done.bringing, done.version, done.note, done.refusal) == ("", VERSION, "version 1 is deployed", "")
    unfit = source_progress.concluded(brought(), "version 1 was rejected", now_ns=2, is_failure=True)
    assert (unfit.bringing, unfit.refusal, unfit.events[-1].is_failure) == ("", "version 1 was rejected", True)


def test_events_are_kept_up_to_a_number() -> None:
    progress = Progress()
    for number in range(source_progress.MOST_EVENTS + 5):
        progress = source_progress.failed(progress, now_ns=number, why=str(number))
    assert len(progress.events) == source_progress.MOST_EVENTS
    assert progress.events[-1].text == str(source_progress.MOST_EVENTS + 4)


def test_other_content_is_looked_for_anew_and_another_plan_is_not() -> None:
    present = replace(SOURCE, progress=replace(Progress(), seen="a", refusal="no model"))
    moved = replace(SOURCE, location=Location("folder", {"path": "/other"}))
    assert sources.merged(present, moved, paths=("location",)).progress == Progress()
    assert sources.merged(present, replace(SOURCE, poll_ns=10**9), paths=("poll_duration",)).progress.seen == "a"
    with pytest.raises(InvalidArgumentError, match="model in update_mask"):
        sources.merged(present, SOURCE, paths=("model",))


def test_the_same_content_is_the_same_version_only_if_all_else_is() -> None:
    file = Artifact("0" * 64, 1, "model.onnx")
    present = ModelVersion(model="digits", number=1, files=(file,), format="onnx", state=VersionState.READY)
    wanted = ModelVersion(model="digits", number=0, files=(file,))
    assert sources.same_as([present], wanted) is present
    assert sources.same_as([present], replace(wanted, trusted=True)) is None
    assert sources.same_as([present], replace(wanted, format="torchscript")) is None
    assert sources.same_as([present], replace(wanted, manifest={"unbatched": True})) is None
    assert sources.same_as([replace(present, state=VersionState.ARCHIVED)], wanted) is None


def test_a_signature_must_be_verified_and_of_the_set() -> None:
    needed, of_set = SourceTrust(is_signature_required=True), SourceTrust(False, True, "release")
    verified = Trust(outcome=Outcome.VERIFIED, signing_key="keySets/other/keys/a")
    assert sources.check_signed(Trust(outcome=Outcome.UNSIGNED), SourceTrust()) == ""
    assert "UNSIGNED" in sources.check_signed(Trust(outcome=Outcome.UNSIGNED), needed)
    assert sources.check_signed(verified, needed) == ""
    assert "signed by keySets/other/keys/a" in sources.check_signed(verified, of_set)
    assert sources.check_signed(replace(verified, signing_key="keySets/release/keys/a"), of_set) == ""


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ([("1", True), ("10", True), ("9", True)], "10"),
        ([("1", True), ("2", False)], "1"),
        ([("1", True), (".tmp", True), ("tmp3", True)], "1"),
        ([("1", True), ("variables", True)], None),
        ([("assets", True)], None),
        ([], None),
    ],
    ids=["highest", "empty", "temporary", "mixed", "no-number", "nothing"],
)
def test_folders_of_numbers(names: list[tuple[str, bool]], expected: str | None) -> None:
    assert newest_number(names) == expected


class MovingTree:
    """Says something else at each look."""

    def __init__(self, *listings: Listing) -> None:
        self._listings = list(listings)

    def list(self) -> Listing:
        return self._listings.pop(0)

    def copy(self, place: str, target: Path) -> None:
        target.write_bytes(b"x" * self._listings[0][place].size_bytes)


STILL: Listing = {"model.onnx": Entry(3, "a")}
GROWN: Listing = {"model.onnx": Entry(4, "b")}


def settle(first: Listing, second: Listing) -> None:
    trees.settled(MovingTree(second), first, settle_s=0.0, pause=lambda _: None)


def test_what_stays_the_same_is_settled() -> None:
    settle(STILL, STILL)


@pytest.mark.parametrize(
    ("first", "second", "words"),
    [
        (STILL, GROWN, "model.onnx is still being written"),
        (STILL, {**STILL, "labels.txt": Entry(1, "c")}, "labels.txt is still being written"),
        (STILL, {**STILL, ".rsync": Entry(1, "c")}, ".rsync is still being written"),
        ({}, {}, "nothing yet"),
        ({"model.onnx": Entry(0, "a")}, {}, "nothing yet"),
        ({**STILL, "b.part": Entry(1, "")}, {}, "half-written"),
    ],
    ids=["grows", "more", "hidden", "nothing", "empty", "partial"],
)
def test_what_is_still_being_written_is_not(first: Listing, second: Listing, words: str) -> None:
    with pytest.raises(UnsettledError, match=words):
        settle(first, second)


def test_what_was_left_half_written_long_ago_is_left_out() -> None:
    listing = {**STILL, "old.tmp": Entry(1, "", changed_s=100.0)}
    trees.check_whole(listing, now_s=10_000.0)
    assert trees.content_of(listing) == STILL
    with pytest.raises(UnsettledError):
        trees.check_whole(listing, now_s=200.0)


def test_a_copy_that_is_not_what_was_listed_is_not_taken(tmp_path: Path) -> None:
    with pytest.raises(UnsettledError, match="had 3 bytes, and 4"):
        trees.copied(MovingTree(GROWN), STILL, tmp_path)
    (tmp_path / "again").mkdir()
    with pytest.raises(UnsettledError, match="is still being written"):
        trees.copied(MovingTree({**STILL, "more.txt": Entry(1, "")}), STILL, tmp_path / "again")


@given(st.dictionaries(st.text(min_size=1), st.tuples(st.integers(0, 9), st.text())))
def test_a_fingerprint_is_of_the_content_and_of_nothing_hidden(files: dict[str, tuple[int, str]]) -> None:
    listing = {name: Entry(*entry) for name, entry in files.items()}
    fingerprint = trees.fingerprint_of(listing)
    assert trees.fingerprint_of({**listing, ".hidden": Entry(1, "x")}) == fingerprint
    assert trees.fingerprint_of({**listing, "one/more": Entry(1, "x")}) != fingerprint
    assert trees.fingerprint_of(listing, "other") != fingerprint


def test_questions_and_answers_survive_the_way() -> None:
    question = messages.Question(kind="folder", fields={"path": "/x"}, settle_s=0.5, seen="", scratch="/s")
    assert messages.Question.from_json(question.to_json()) == question
    file = messages.FoundFile("model.onnx", "0" * 64, 3, "/s/model.onnx")
    answer = messages.Answer(outcome=messages.Outcome.FOUND, files=(file,), facts={"a": "b"}, metrics={"c": 0.5})
    assert messages.Answer.from_json(answer.to_json()) == answer
    with pytest.raises(ValueError, match="Expecting value"):
        messages.Answer.from_json(b"")


BODY = json.dumps({"entity": "model_version_alias", "action": "created", "data": {"name": "digits"}}).encode()


def signed(body: bytes = BODY, *, secret: str = "s", instant: str = "1000") -> Mapping[str, str]:
    digest = hmac.digest(secret.encode(), f"id.{instant}.".encode() + body, hashlib.sha256)
    return {
        webhooks.DELIVERY: "id",
        webhooks.INSTANT: instant,
        webhooks.SIGNATURE: f"v0,x v1,{base64.b64encode(digest).decode()}",
    }


def test_a_signed_delivery_says_what_it_is_about() -> None:
    assert webhooks.read(signed(), BODY, secret="s", now_s=1100.0) == "digits"


@pytest.mark.parametrize(
    ("headers", "now_s"),
    [
        ({}, 1000.0),
        (signed(secret="other"), 1000.0),
        (signed(BODY + b" "), 1000.0),
        (signed(), 1301.0),
        (signed(), 699.0),
        (signed(instant="soon"), 1000.0),
    ],
    ids=["unsigned", "secret", "body", "old", "early", "instant"],
)
def test_a_delivery_that_nobody_vouches_for_is_refused(headers: Mapping[str, str], now_s: float) -> None:
    with pytest.raises(webhooks.ForgedError):
        webhooks.read(headers, BODY, secret="s", now_s=now_s)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"data": 1}'])
def test_a_signed_delivery_that_makes_no_sense_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidArgumentError):
        webhooks.read(signed(body), body, secret="s", now_s=1000.0)
