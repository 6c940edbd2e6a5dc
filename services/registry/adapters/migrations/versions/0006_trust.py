"""Keys, signatures, policies, and the log of who changed what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_Id = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
_Json = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.add_column("models", sa.Column("trust_policy", _Json, nullable=False, server_default="{}"))
    op.add_column("model_versions", sa.Column("trust", _Json, nullable=False, server_default="{}"))
    op.create_table(
        "signing_keys",
        sa.Column("key_set", _Id, primary_key=True),
        sa.Column("key", _Id, primary_key=True),
        sa.Column("public_key", sa.Text, nullable=False),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("create_time_ns", sa.BigInteger, nullable=False),
        sa.Column("creator", sa.Text, nullable=False),
        sa.Column("revoke_time_ns", sa.BigInteger, nullable=False),
        sa.Column("revoker", sa.Text, nullable=False),
        sa.Column("revoke_reason", sa.Text, nullable=False),
        sa.Column("etag", sa.String(32), nullable=False),
    )
    op.create_index(None, "signing_keys", ["fingerprint"])
    op.create_table(
        "revoked_content",
        sa.Column("digest", sa.String(64), primary_key=True),
        sa.Column("revoke_time_ns", sa.BigInteger, nullable=False),
        sa.Column("revoker", sa.Text, nullable=False),
        sa.Column("revoke_reason", sa.Text, nullable=False),
    )
    op.create_table(
        "audit_entries",
        sa.Column("sequence", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("log_time_ns", sa.BigInteger, nullable=False),
        sa.Column("actor", sa.Text, nullable=False),
        sa.Column("peer", sa.Text, nullable=False),
        sa.Column("action", sa.String(64), nullable=False),
        sa.Column("resource", sa.Text, nullable=False),
        sa.Column("model", _Id, nullable=False),
        sa.Column("details", sa.Text, nullable=False),
        sa.Column("previous_sha256", sa.String(64), nullable=False),
        sa.Column("sha256", sa.String(64), nullable=False),
    )
    op.create_index(None, "audit_entries", ["model"])
    op.create_index(None, "audit_entries", ["log_time_ns"])
    _keep_as_written()


def _keep_as_written() -> None:
    """Let the database itself refuse to change the log: a mistake is stopped here, an attack by the chain."""
    if op.get_bind().dialect.name == "sqlite":
        for change in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER audit_entries_no_{change.lower()} BEFORE {change} ON audit_entries "
                "BEGIN SELECT RAISE(ABORT, 'audit_entries is append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION audit_entries_refuse() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'audit_entries is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_entries_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_entries "
        "FOR EACH STATEMENT EXECUTE FUNCTION audit_entries_refuse()"
    )
