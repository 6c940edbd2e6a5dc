"""How fast versions run, and how they were loaded."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_Json = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.add_column("model_versions", sa.Column("optimizations", _Json, nullable=False, server_default="[]"))
    op.add_column("deployments", sa.Column("optimization", sa.Integer, nullable=False, server_default="0"))
    op.add_column("instances", sa.Column("variant", _Json, nullable=False, server_default="[]"))
