"""Which registry writes, which hears all nodes then."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_Id = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
_InstanceId = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")
_Json = sa.JSON(none_as_null=True)


def upgrade() -> None:
    for name in ("term", "asked", "answered"):
        op.add_column("revision", sa.Column(name, sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("revision", sa.Column("writer", sa.String(255), nullable=False, server_default=""))
    # Older SQLites can't drop columns; agents say again within a second what is kept here.
    op.drop_table("instances")
    op.drop_table("nodes")
    op.create_table("nodes", sa.Column("node", sa.String(80), primary_key=True))
    op.create_table(
        "instances",
        sa.Column("node", sa.String(80), sa.ForeignKey("nodes.node"), primary_key=True),
        sa.Column("instance", _InstanceId, primary_key=True),
        sa.Column("model", _Id, nullable=False),
        sa.Column("version", sa.String(160), nullable=False),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("progress", sa.Double, nullable=False),
        sa.Column("device", sa.Text, nullable=False),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("restarts", sa.Integer, nullable=False),
        sa.Column("variant", _Json, nullable=False),
        sa.Column("update_time_ns", sa.BigInteger, nullable=False),
    )
    op.create_index(None, "instances", ["model"])
