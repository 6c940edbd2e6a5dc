"""Which version to validate next."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import and_, or_, tuple_

from services.registry.adapters.tables import versions
from services.registry.adapters.transaction import Transaction
from services.registry.domain import ids
from services.registry.domain.resources import ModelVersion, VersionState


def find_claimable(
    tx: Transaction, node: str, *, formats: Sequence[str], libraries: Sequence[str], excluded: Sequence[str]
) -> ModelVersion | None:
    """The node's own claim, else the oldest version that nobody validates (any more), of one of the formats.

    A version whose format isn't known yet may be of any; of one that was handed back the libraries for its steps are
    known, too. Those that are ``excluded``, by name, aren't given.
    """
    table = versions.c
    is_own = and_(table.state == VersionState.VALIDATING, table.claim_node == node)
    is_lapsed = and_(table.state == VersionState.VALIDATING, table.claim_end_ns <= tx.now_ns)
    where = [or_(table.state == VersionState.PENDING, is_own, is_lapsed)]
    if formats:
        where.append(table.format.in_({"", *formats}))
    if excluded:
        where.append(tuple_(table.model, table.version).not_in(list(map(ids.parse_version, excluded))))
    order = (is_own.desc(), table.create_time_ns, table.model, table.version)
    for found in tx.select(ModelVersion, *where, order=order):
        needed = found.validation_report.libraries if found.validation_report else ()
        if not formats or set(needed) <= set(libraries):
            return found
    return None
