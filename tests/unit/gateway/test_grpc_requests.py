"""A message that comes in pieces, and where it is put together."""

from __future__ import annotations

import grpc
import pytest

from services.common.payloads import PayloadStore
from services.gateway.fronts import grpc_wire as wire
from services.gateway.fronts.grpc_requests import Pieces, nowhere

LIMIT = 100_000
BODY = bytes(range(250)) * 200


class Room:
    """Takes messages of 10,000 bytes or more; ``drafts`` are what it was asked for."""

    def __init__(self) -> None:
        self.drafts: list[Drafted] = []

    def __call__(self, size: int) -> Drafted | None:
        if size < 10_000:
            return None
        self.drafts.append(Drafted(size))
        return self.drafts[-1]


class Drafted:
    def __init__(self, size: int) -> None:
        self.size = size
        self.content = b""

    def add(self, part: bytes | memoryview) -> None:
        self.content += part

    def message(self) -> memoryview:
        return memoryview(self.content)


def prefixed(body: bytes, *, length: int | None = None, flag: int = 0) -> bytes:
    return bytes((flag,)) + (len(body) if length is None else length).to_bytes(4, "big") + body


def fed(sent: bytes, piece: int, room: Room) -> Pieces:
    pieces = Pieces(LIMIT, room)
    for at in range(0, len(sent), piece):
        pieces.add(memoryview(sent)[at : at + piece])
    return pieces


@pytest.mark.parametrize("piece", [5, 6, 100, 16_384, 10**6])
def test_a_large_message_is_put_together_where_there_is_room(piece: int) -> None:
    room = Room()
    message = fed(prefixed(BODY), piece, room).message("identity")
    assert isinstance(message, memoryview)
    assert message == BODY
    assert [draft.size for draft in room.drafts] == [len(BODY)]


@pytest.mark.parametrize("piece", [1, 3])
def test_one_whose_length_comes_in_pieces_itself_is_joined(piece: int) -> None:
    room = Room()
    sent = prefixed(BODY)
    pieces = Pieces(LIMIT, room)
    pieces.add(sent[:piece])
    pieces.add(sent[piece:])
    assert pieces.message("identity") == BODY
    assert room.drafts == []


def test_small_and_compressed_ones_are_joined() -> None:
    room = Room()
    assert fed(prefixed(b"small"), 6, room).message("identity") == b"small"
    with pytest.raises(wire.StatusError, match="no gzip data"):
        fed(prefixed(BODY, flag=1), 9_000, room).message("gzip")
    assert room.drafts == []
    assert Pieces(LIMIT, nowhere)._draft is None


def test_a_message_that_is_only_announced_takes_nothing() -> None:
    room = Room()
    pieces = Pieces(LIMIT, room)
    pieces.add(prefixed(BODY)[: len(BODY) // 4 - 10])
    assert room.drafts == []
    pieces.add(b"x" * 20)
    assert len(room.drafts) == 1


@pytest.mark.parametrize("length", [len(BODY) - 1, len(BODY) + 1])
def test_a_body_of_another_length_than_it_says_is_refused(length: int) -> None:
    with pytest.raises(wire.StatusError, match=f"expected one message of {length}") as caught:
        fed(prefixed(BODY, length=length), 1_000, Room()).message("identity")
    assert caught.value.code is grpc.StatusCode.INTERNAL


def test_too_large_a_message_is_refused_at_once() -> None:
    room = Room()
    with pytest.raises(wire.StatusError, match="larger than max") as caught:
        fed(prefixed(BODY, length=LIMIT + 1), 1_000, room)
    assert caught.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert room.drafts == []


def test_a_store_is_such_a_room(tmp_path_factory: pytest.TempPathFactory) -> None:
    store = PayloadStore("c" * 16, limit_bytes=2**20, root=tmp_path_factory.mktemp("shm"))
    pieces = Pieces(LIMIT, store.begin)
    for at in range(0, len(BODY) + 5, 9_999):
        pieces.add(prefixed(BODY)[at : at + 9_999])
    assert pieces.message("identity") == BODY
    store.close()
