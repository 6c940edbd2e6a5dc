"""Messages in shared memory: who may read them, when their memory is used again, and that nothing is left."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from services.common.payloads import PayloadReader, PayloadStore, Reference, reference_of, store

OWNER = "0123456789abcdef"
MESSAGE = bytes(range(256)) * 1_000
LIMIT = 4 * 2**20


@pytest.fixture
def own(tmp_path: Path) -> PayloadStore:
    return PayloadStore(OWNER, limit_bytes=LIMIT, root=tmp_path)


def put(own: PayloadStore, content: bytes = MESSAGE) -> memoryview:
    message = own.put([content[:5], memoryview(content)[5:]], len(content))
    assert message is not None
    return message


def refer(message: memoryview) -> Reference:
    reference = reference_of(message)
    assert reference is not None
    return reference


def files(root: Path) -> list[str]:
    return sorted(path.name for path in (root / f"penstock-{OWNER}").iterdir())


def test_what_is_put_is_read_where_it_lies(own: PayloadStore, tmp_path: Path) -> None:
    for size in (0, 1, 63, 64, 65, len(MESSAGE)):
        message = put(own, MESSAGE[:size])
        there = PayloadReader(OWNER, root=tmp_path).view(refer(message), size)
        assert there is not None
        assert bytes(message) == bytes(there) == MESSAGE[:size]
        assert message.readonly
        assert there.readonly


def test_only_what_a_store_holds_has_a_reference() -> None:
    assert reference_of(MESSAGE) is None
    assert reference_of(memoryview(MESSAGE)) is None


def test_messages_end_at_a_64th_byte(own: PayloadStore) -> None:
    for size in (1, 100, 4_096):
        tail = np.frombuffer(put(own, MESSAGE[:size])[size:], np.uint8)
        assert tail.__array_interface__["data"][0] % 64 == 0


def test_memory_is_used_again_when_the_last_view_is_gone(own: PayloadStore, tmp_path: Path) -> None:
    message = put(own)
    part, first = message[100:200], refer(message)
    del message
    other = put(own)
    assert refer(other).buffer != first.buffer
    del part
    again = refer(third := put(own))
    assert again.buffer == first.buffer
    assert again.use not in (first.use, refer(other).use)
    assert third == MESSAGE
    assert files(tmp_path) == ["1", "2"]


def test_what_was_lent_is_kept_until_it_is_given_back(own: PayloadStore, tmp_path: Path) -> None:
    message = put(own)
    reference = own.lend(message, "gateway")
    del message
    reader = PayloadReader(OWNER, root=tmp_path)
    borrowed = reader.borrow(reference, len(MESSAGE))
    assert borrowed == MESSAGE
    assert refer(put(own)).buffer != reference.buffer
    part = borrowed[5:]
    del borrowed
    assert refer(put(own)).buffer != reference.buffer
    del part
    own.trim()
    assert refer(put(own)).buffer in {1, 2}
    assert reader.borrow(reference, len(MESSAGE)) is None


def test_what_is_given_back_late_does_not_free_the_next_use(own: PayloadStore, tmp_path: Path) -> None:
    message = put(own)
    late = PayloadReader(OWNER, root=tmp_path).borrow(refer(message), len(MESSAGE))
    del message
    message = put(own)
    use = refer(message)
    del late
    assert PayloadReader(OWNER, root=tmp_path).view(use, len(MESSAGE)) == MESSAGE


def test_what_was_lent_to_the_dead_is_removed(own: PayloadStore, tmp_path: Path) -> None:
    own.lend(put(own), "dead")
    kept = own.lend(put(own), "alive")
    own.discard("dead")
    assert files(tmp_path) == [str(kept.buffer)]


def test_what_was_settled_is_not_there_any_more(own: PayloadStore, tmp_path: Path) -> None:
    reader = PayloadReader(OWNER, root=tmp_path)
    message = put(own)
    reference = refer(message)
    assert reader.view(reference, len(MESSAGE)) is not None
    del message
    own.trim()
    assert reader.view(reference, len(MESSAGE)) is None


@pytest.mark.parametrize(
    ("reference", "size"),
    [
        (Reference(1, 2), len(MESSAGE)),
        (Reference(1, 0), len(MESSAGE)),
        (Reference(2, 1), len(MESSAGE)),
        (Reference(1, 1), 2**62),
        (Reference(2**64 - 1, 1), 1),
    ],
    ids=["another use", "no use", "another buffer", "beyond its end", "no number of a buffer"],
)
def test_a_reader_does_not_believe_what_it_is_told(
    own: PayloadStore, tmp_path: Path, reference: Reference, size: int
) -> None:
    message = put(own)
    reader = PayloadReader(OWNER, root=tmp_path)
    assert reader.view(reference, size) is None
    assert reader.borrow(reference, size) is None
    assert message == MESSAGE


def test_a_reader_follows_no_links_and_reads_files_only(own: PayloadStore, tmp_path: Path) -> None:
    folder = tmp_path / f"penstock-{OWNER}"
    reader = PayloadReader(OWNER, root=tmp_path)
    (tmp_path / "secret").write_bytes(b"\1" + bytes(1_000))
    (folder / "7").symlink_to(tmp_path / "secret")
    (folder / "8").mkdir()
    os.mkfifo(folder / "9")
    (folder / "10").touch()
    for number in (7, 8, 9, 10):
        assert reader.view(Reference(number, 1), 10) is None
    (folder / "8").rmdir()


@pytest.mark.parametrize("owner", ["", "..", "../0123456789abcdef", "0123456789ABCDEF", "0" * 33, "gateway-1"])
def test_only_an_id_names_a_directory(tmp_path: Path, owner: str) -> None:
    assert PayloadReader.of(owner, root=tmp_path) is None


def test_a_directory_that_others_may_open_is_not_read(own: PayloadStore, tmp_path: Path) -> None:
    assert PayloadReader.of(OWNER, root=tmp_path) is not None
    (tmp_path / f"penstock-{OWNER}").chmod(0o750)
    assert PayloadReader.of(OWNER, root=tmp_path) is None
    (tmp_path / "penstock-aaaaaaaaaaaaaaaa").symlink_to(tmp_path)
    assert PayloadReader.of("aaaaaaaaaaaaaaaa", root=tmp_path) is None
    assert own.owner_id == OWNER


def test_files_and_directory_are_their_owners_alone(own: PayloadStore, tmp_path: Path) -> None:
    message = put(own)
    folder = tmp_path / f"penstock-{OWNER}"
    assert (folder.stat().st_mode & 0o777, (folder / "1").stat().st_mode & 0o777) == (0o700, 0o600)
    assert message == MESSAGE


def test_no_more_is_taken_than_allowed(own: PayloadStore, tmp_path: Path) -> None:
    messages = []
    while (message := own.put([MESSAGE], len(MESSAGE))) is not None:
        messages.append(message)
    assert LIMIT // 2 < sum((tmp_path / f"penstock-{OWNER}" / name).stat().st_size for name in files(tmp_path)) <= LIMIT
    messages.clear()
    assert own.put([bytes(LIMIT // 2)], LIMIT // 2) is not None, "free ones of another size make room"
    assert own.put([bytes(LIMIT)], LIMIT) is None
    assert PayloadStore("f" * 16, limit_bytes=0, root=tmp_path).put([MESSAGE], len(MESSAGE)) is None


def test_a_full_disk_takes_nothing_and_leaves_nothing(
    own: PayloadStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_descriptor: int, _at: int, _size: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(store.os, "posix_fallocate", full)
        assert own.put([MESSAGE], len(MESSAGE)) is None
        assert files(tmp_path) == []
    assert put(own) == MESSAGE


def test_without_shared_memory_nothing_is_taken(tmp_path: Path) -> None:
    own = PayloadStore(OWNER, limit_bytes=LIMIT, root=tmp_path / "missing")
    assert own.put([MESSAGE], len(MESSAGE)) is None
    own.trim()
    own.close()


def test_a_draft_that_is_dropped_leaves_nothing(own: PayloadStore, tmp_path: Path) -> None:
    draft = own.begin(10_000)
    assert draft is not None
    draft.add(b"half")
    del draft
    assert refer(put(own, b"x" * 10_000)).buffer == 1
    assert files(tmp_path) == ["1"]


def test_a_draft_takes_no_more_than_was_asked_for(own: PayloadStore) -> None:
    draft = own.begin(10)
    assert draft is not None
    draft.add(b"12345678")
    with pytest.raises(ValueError, match="different structures"):
        draft.add(b"abc")


def test_unneeded_buffers_go_after_a_while(own: PayloadStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = PayloadReader(OWNER, root=tmp_path)
    held, message = put(own), put(own)
    assert reader.view(refer(message), len(MESSAGE)) is not None
    del message
    assert own.trim()
    assert files(tmp_path) == ["1", "2"]
    monkeypatch.setattr(store, "_KEPT_S", -1.0)
    assert own.trim(), "one is in use"
    assert files(tmp_path) == ["1"]
    assert not reader.trim()
    assert held == MESSAGE
    del held
    assert not own.trim()


def test_closing_removes_everything_and_views_stay(own: PayloadStore, tmp_path: Path) -> None:
    message = put(own)
    there = PayloadReader(OWNER, root=tmp_path).view(refer(message), len(MESSAGE))
    own.close()
    assert list(tmp_path.iterdir()) == []
    assert message == there == MESSAGE
    assert own.put([MESSAGE], len(MESSAGE)) is None
    own.close()
