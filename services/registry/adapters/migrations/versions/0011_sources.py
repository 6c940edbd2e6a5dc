"""Places that are watched for new versions, and where versions are from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"

_Id = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
_Json = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.add_column("model_versions", sa.Column("lineage", _Json, nullable=False, server_default="{}"))
    op.create_table(
        "sources",
        sa.Column("source", _Id, primary_key=True),
        sa.Column("model", _Id, sa.ForeignKey("models.model"), nullable=False),
        sa.Column("wanted", _Json, nullable=False),
        sa.Column("progress", _Json, nullable=False),
        sa.Column("create_time_ns", sa.BigInteger, nullable=False),
        sa.Column("update_time_ns", sa.BigInteger, nullable=False),
        sa.Column("creator", sa.Text, nullable=False),
        sa.Column("etag", sa.String(32), nullable=False),
    )
    op.create_index(None, "sources", ["model"])
