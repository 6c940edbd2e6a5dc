"""Our decoder of header blocks against the library's: the same fields and table, refused where that one refuses."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

import pytest
from hpack import (
    Decoder,
    Encoder,
    HeaderTuple,
    HPACKError,
    NeverIndexedHeaderTuple,
    OversizedHeaderListError,
)

from services.common.http2.decoding import BlockDecoder

LIMIT = 4_096
FIELDS = [
    (b":method", b"POST"), (b":method", b"GET"), (b":path", b"/a"), (b":scheme", b"http"), (b"te", b"trailers"),
    (b"content-type", b"application/grpc"), (b"grpc-timeout", b"100m"), (b"empty", b""),
]  # fmt: skip


def outcome(read: Callable[[], Iterable[tuple[bytes, bytes]]]) -> list[tuple[bytes, bytes]] | str:
    """What was read, or why it could not be, as far as it matters."""
    try:
        return [(bytes(name), bytes(value)) for name, value in read()]
    except OversizedHeaderListError:
        return "too large"
    except (HPACKError, IndexError):
        return "unreadable"


class Pair:
    """The same blocks for both."""

    def __init__(self) -> None:
        self.ours, self.theirs = BlockDecoder(LIMIT), Decoder(LIMIT)

    def read(self, block: bytes) -> bool:
        """Whether they can read it."""
        expected, got = outcome(lambda: self.theirs.decode(block, raw=True)), outcome(lambda: self.ours.fields(block))
        assert got == expected, block
        if isinstance(expected, str):
            return False
        table, other = self.ours.header_table, self.theirs.header_table
        assert (table.dynamic_entries, table.maxsize) == (other.dynamic_entries, other.maxsize)
        return True


def some_fields(rng: random.Random) -> list[HeaderTuple]:
    fields: list[HeaderTuple] = []
    for _ in range(rng.randrange(12)):
        field = rng.choice(FIELDS)
        if rng.random() < 0.5:
            field = (b"x-%d" % rng.randrange(200), rng.randbytes(rng.choice((0, 3, 20, 130, 300))))
        fields.append(rng.choice((HeaderTuple, NeverIndexedHeaderTuple))(*field))
    return fields


@pytest.mark.parametrize("seed", range(20))
def test_what_an_encoder_makes_is_read_alike(seed: int) -> None:
    rng, encoder, pair = random.Random(seed), Encoder(), Pair()
    for _ in range(30):
        if rng.random() < 0.2:
            encoder.header_table_size = rng.choice((0, 100, 1_000, 4_096))
        assert pair.read(encoder.encode(some_fields(rng), huffman=rng.random() < 0.5))


@pytest.mark.parametrize("seed", range(20))
def test_what_is_broken_is_refused_alike(seed: int) -> None:
    rng, encoder = random.Random(seed), Encoder()
    for _ in range(100):
        pair = Pair()
        block = bytearray(
            encoder.encode(some_fields(rng), huffman=rng.random() < 0.5) + rng.randbytes(rng.randrange(4))
        )
        for _ in range(rng.randrange(4)):
            if block:
                block[rng.randrange(len(block))] = rng.randrange(256)
        del block[rng.randrange(len(block) + 1) :]
        if pair.read(bytes(block)):
            pair.read(rng.randbytes(20))


def test_a_list_beyond_the_limit_is_refused() -> None:
    block = Encoder().encode([(b"x-%d" % number, b"y" * 100) for number in range(40)])
    assert not Pair().read(block)
