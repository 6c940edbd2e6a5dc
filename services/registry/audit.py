"""The log of who changed what, written in the transaction that changes it: neither is there without the other."""

from __future__ import annotations

from typing import Any

from services.registry.adapters import audit_rows
from services.registry.adapters.transaction import Transaction
from services.registry.domain import ids, paging
from services.registry.domain.audit import Entry


def record(tx: Transaction, action: str, resource: str, *, model: str = "", actor: str = "", **details: Any) -> None:
    """Note what is done. ``actor`` is who does it where the call's metadata don't say it, an agent for one."""
    audit_rows.append(
        tx, actor=actor or tx.caller.actor, action=action, resource=resource, model=model, details=details
    )


def list_entries(tx: Transaction, *, model: str, since_ns: int, size: int, token: str) -> tuple[list[Entry], str]:
    """A page of the log, and the token of the next one (empty after the last).

    Raises:
        InvalidArgumentError: a malformed size, token or model.
    """
    about = ids.parse_model(model) if model else None
    page = paging.parse(f"audit {model} {since_ns}", key_types=(int,), size=size, token=token)
    after = int(page.after[0]) if page.after else 0
    found = audit_rows.page(tx, model=about, since_ns=since_ns, after=after, limit=page.size + 1)
    if len(found) <= page.size:
        return found, ""
    found.pop()
    return found, page.next_token((found[-1].sequence,))
