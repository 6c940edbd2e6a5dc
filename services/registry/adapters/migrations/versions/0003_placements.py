"""Where replicas run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_Json = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.add_column("deployments", sa.Column("placements", _Json, nullable=False, server_default="[]"))
