"""Answers to requests that may be repeated."""

from __future__ import annotations

from sqlalchemy import delete, insert, select

from services.registry.adapters.tables import requests
from services.registry.adapters.transaction import Transaction


def find(tx: Transaction, request_id: str) -> tuple[str, bytes] | None:
    """What the request was for, and its answer."""
    statement = select(requests.c.target, requests.c.body).where(requests.c.request_id == request_id)
    row = tx.connection.execute(statement).one_or_none()
    return None if row is None else (row.target, row.body)


def put(tx: Transaction, request_id: str, *, target: str, body: bytes) -> None:
    tx.connection.execute(
        insert(requests).values(request_id=request_id, target=target, body=body, create_time_ns=tx.now_ns)
    )


def forget(tx: Transaction, *, before_ns: int) -> None:
    tx.connection.execute(delete(requests).where(requests.c.create_time_ns < before_ns))
