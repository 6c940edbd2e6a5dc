"""Replicas whose process was taken out."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"

_Json = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.add_column("deployments", sa.Column("quarantines", _Json, nullable=False, server_default="[]"))
