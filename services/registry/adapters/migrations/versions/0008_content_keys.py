"""Content under keys that are used once, what is to be removed, and signatures."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    op.add_column("artifacts", sa.Column("key", sa.String(100), nullable=False, server_default=""))
    op.execute("UPDATE artifacts SET key = substr(sha256, 1, 2) || '/' || sha256")
    op.create_table(
        "garbage",
        sa.Column("key", sa.String(100), primary_key=True),
        sa.Column("sha256", sa.String(64), nullable=False),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("remove_ns", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "signed_files",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )
