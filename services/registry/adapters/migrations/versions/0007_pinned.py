"""Which deployments stay loaded."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("deployments", sa.Column("pinned", sa.Boolean, nullable=False, server_default=sa.false()))
