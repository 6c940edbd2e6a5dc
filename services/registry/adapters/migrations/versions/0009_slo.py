"""What users of a model may count on."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

_Json = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.add_column("deployments", sa.Column("slo", _Json, nullable=False, server_default="{}"))
