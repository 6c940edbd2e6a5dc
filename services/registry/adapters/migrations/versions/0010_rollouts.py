"""Rollouts, and how requests are divided meanwhile."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

_Id = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
_Json = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.add_column("deployments", sa.Column("split", _Json))
    op.create_table(
        "rollouts",
        sa.Column("model", _Id, primary_key=True),
        sa.Column("rollout", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("is_open", sa.Boolean, nullable=False),
        sa.Column("body", _Json, nullable=False),
        sa.Column("verdict", _Json),
        sa.Column("events", _Json, nullable=False),
        sa.Column("etag", sa.String(32), nullable=False),
    )
    op.create_index("ix_rollouts_is_open", "rollouts", ["is_open"])
