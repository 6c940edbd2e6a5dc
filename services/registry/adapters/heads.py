"""The database's one row that everybody looks at: its revision, and which registry writes."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, select, update

from services.common.errors import InternalError
from services.registry.adapters.tables import revision


@dataclass(frozen=True, slots=True)
class Head:
    """``term`` counts how often the right to write changed hands; ``writer`` is the address of who has it, or empty.

    ``asked`` counts the other registries' questions whether the writer is there, ``answered`` is the last that it
    answered.
    """

    revision: int
    term: int
    writer: str
    asked: int
    answered: int


_COLUMNS = (revision.c.value, revision.c.term, revision.c.writer, revision.c.asked, revision.c.answered)


def read(connection: Connection, *, is_locked: bool = False) -> Head:
    """``is_locked`` keeps all other writers waiting until the transaction's end."""
    statement = select(*_COLUMNS)
    row = connection.execute(statement.with_for_update() if is_locked else statement).one_or_none()
    if row is None:
        raise InternalError("the database has no revision: its schema was not set up by the migrations")
    return Head(*row)


def write_revision(connection: Connection, value: int) -> None:
    connection.execute(update(revision).values(value=value))


def ask(connection: Connection, head: Head) -> int:
    """Ask the writer for a sign of life. Returns the question's number."""
    connection.execute(update(revision).values(asked=head.asked + 1))
    return head.asked + 1


def answer(connection: Connection, head: Head, *, term: int) -> None:
    """Say that the writer of this term is there."""
    if head.term == term:
        connection.execute(update(revision).values(answered=head.asked))


def take_over(connection: Connection, head: Head, *, seen: Head, address: str) -> int:
    """Become the writer, if nothing happened since the head was ``seen``. Returns the new term, 0 for none."""
    if (head.term, head.answered, head.revision) != (seen.term, seen.answered, seen.revision):
        return 0
    connection.execute(update(revision).values(term=head.term + 1, writer=address, answered=head.asked))
    return head.term + 1


def release(connection: Connection, head: Head, *, term: int) -> None:
    """Let another registry write."""
    if head.term == term:
        connection.execute(update(revision).values(writer=""))
