from __future__ import annotations

import contextlib
from dataclasses import replace
from itertools import chain

import hiredis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from penstock.queue.v1.envelope_pb2 import Arm, Envelope
from services.common.lanes import Entry, EntryPacker, LaneKeys, MalformedEntryError, decode, encode

PLAIN = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=60)
ENVELOPES = st.builds(
    Envelope,
    request_key=st.integers(0, 2**64 - 1),
    gateway_id=st.text(max_size=20),
    reply_address=st.text(max_size=20),
    request_id=st.text(max_size=20),
    rows=st.integers(0, 2**32 - 1),
    priority=st.integers(0, 2**32 - 1),
    payload_bytes=st.integers(0, 2**64 - 1),
    is_sampled=st.booleans(),
    arm=st.sampled_from(Arm.values()),
    is_drawn=st.booleans(),
)
ENTRIES = st.builds(
    Entry,
    envelope=ENVELOPES,
    request=st.binary(max_size=200),
    traceparent=PLAIN,
    tracestate=PLAIN,
    enqueue_ns=st.integers(0, 2**63 - 1),
    deadline_ns=st.integers(0, 2**63 - 1),
    attempt=st.integers(1, 2**31 - 1),
)
FIELDS = [b"head", b"env", b"req"]


def through_redis(entry: Entry) -> dict[bytes, bytes]:
    """Fields as Redis answers them: everything is bytes (tests/integration sends them through a real one)."""
    return {
        _bytes(name): value if isinstance(value, bytes) else str(value).encode()
        for name, value in encode(entry).items()
    }


def _bytes(name: str | bytes) -> bytes:
    return name.encode() if isinstance(name, str) else name


@given(ENTRIES)
def test_an_entry_survives_the_lane(entry: Entry) -> None:
    assert decode(through_redis(entry)) == entry


@given(ENTRIES, st.sampled_from(FIELDS))
def test_an_entry_without_a_field_is_malformed(entry: Entry, name: bytes) -> None:
    fields = through_redis(entry)
    del fields[name]

    with pytest.raises(MalformedEntryError):
        decode(fields)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"head", b""),
        (b"head", b"00-1-2-01 soon 2 1"),
        (b"head", b"00-1-2-01 1  1"),
        (b"head", b"00-1-2-01 1 2 1.5"),
        (b"head", b"\xff 1 2 1"),
        (b"tracestate", b"\xc3\xa4"),
        (b"env", b"\xff\xff\xff"),
    ],
)
def test_an_unreadable_field_is_malformed_and_named(name: bytes, value: bytes) -> None:
    entry = Entry(Envelope(rows=1), b"", "", "", enqueue_ns=1, deadline_ns=2)

    with pytest.raises(MalformedEntryError, match="malformed lane entry with fields"):
        decode({**through_redis(entry), name: value})


@given(st.dictionaries(st.sampled_from([*FIELDS, b"tracestate"]), st.binary(max_size=30)))
def test_whatever_a_lane_holds_is_an_entry_or_malformed(fields: dict[bytes, bytes]) -> None:
    with contextlib.suppress(MalformedEntryError):
        assert isinstance(decode(fields), Entry)


@given(ENTRIES)
def test_a_packed_entry_is_the_encoded_one(entry: Entry) -> None:
    envelope, stream = entry.envelope, "penstock:{m}:1:lane:0"
    packer = EntryPacker(
        stream,
        gateway_id=envelope.gateway_id,
        reply_address=envelope.reply_address,
        priority=envelope.priority,
        arm=envelope.arm,
        is_drawn=envelope.is_drawn,
    )
    fields = encode(replace(entry, attempt=1))
    for _ in range(2):
        packed = packer.pack(
            entry.request,
            key=envelope.request_key,
            request_id=envelope.request_id,
            rows=envelope.rows,
            payload_bytes=envelope.payload_bytes,
            is_sampled=envelope.is_sampled,
            traceparent=entry.traceparent,
            tracestate=entry.tracestate,
            enqueue_ns=entry.enqueue_ns,
            deadline_ns=entry.deadline_ns,
        )
        assert packed == hiredis.pack_command(("XADD", stream, "*", *chain.from_iterable(fields.items())))


def test_an_empty_tracestate_takes_no_field() -> None:
    assert "tracestate" not in encode(Entry(Envelope(), b"", "", "", enqueue_ns=1, deadline_ns=2))


def test_the_keys_of_a_model_share_a_hash_tag() -> None:
    keys = LaneKeys("digits", "3")

    assert keys.stream(0) == "penstock:{digits}:3:lane:0"
    assert keys.leases == "penstock:{digits}:3:leases"
    assert keys.dead_letters == "penstock:{digits}:3:dead"


@pytest.mark.parametrize(("levels", "priorities"), [(0, [0]), (1, [0]), (2, [1, 2]), (3, [1, 2, 3])])
def test_streams_come_most_urgent_first(levels: int, priorities: list[int]) -> None:
    keys = LaneKeys("m", "1")

    assert keys.streams(levels) == [keys.stream(priority) for priority in priorities]
