"""Everything that the first release keeps."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_Id = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
_InstanceId = sa.String(255).with_variant(sa.String(255, collation="C"), "postgresql")
_Json = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        "models",
        sa.Column("model", _Id, primary_key=True),
        sa.Column("description", sa.Text, nullable=False),
        sa.Column("labels", _Json, nullable=False),
        sa.Column("last_version", sa.Integer, nullable=False),
        sa.Column("create_time_ns", sa.BigInteger, nullable=False),
        sa.Column("update_time_ns", sa.BigInteger, nullable=False),
        sa.Column("etag", sa.String(32), nullable=False),
    )
    op.create_table(
        "artifacts",
        sa.Column("sha256", sa.String(64), primary_key=True),
        sa.Column("size_bytes", sa.BigInteger, nullable=False),
        sa.Column("keep_until_ns", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "model_versions",
        sa.Column("model", _Id, sa.ForeignKey("models.model"), primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sha256", sa.String(64), sa.ForeignKey("artifacts.sha256"), nullable=False),
        sa.Column("filename", sa.Text, nullable=False),
        sa.Column("format", sa.Integer, nullable=False),
        sa.Column("trusted", sa.Boolean, nullable=False),
        sa.Column("signature", _Json),
        sa.Column("state", sa.Integer, nullable=False),
        sa.Column("state_reason", sa.Text, nullable=False),
        sa.Column("validation_report", _Json),
        sa.Column("metrics", _Json, nullable=False),
        sa.Column("labels", _Json, nullable=False),
        sa.Column("create_time_ns", sa.BigInteger, nullable=False),
        sa.Column("update_time_ns", sa.BigInteger, nullable=False),
        sa.Column("etag", sa.String(32), nullable=False),
        sa.Column("claim_node", sa.String(80), nullable=False),
        sa.Column("claim_end_ns", sa.BigInteger, nullable=False),
    )
    op.create_index(None, "model_versions", ["sha256"])
    op.create_index(None, "model_versions", ["state"])
    op.create_table(
        "aliases",
        sa.Column("model", _Id, primary_key=True),
        sa.Column("alias", _Id, primary_key=True),
        sa.Column("version", sa.Integer, nullable=False),
        sa.Column("update_time_ns", sa.BigInteger, nullable=False),
        sa.Column("etag", sa.String(32), nullable=False),
        sa.ForeignKeyConstraint(["model", "version"], ["model_versions.model", "model_versions.version"]),
    )
    op.create_table(
        "deployments",
        sa.Column("model", _Id, sa.ForeignKey("models.model"), primary_key=True),
        sa.Column("versions", _Json, nullable=False),
        sa.Column("replicas", sa.Integer, nullable=False),
        sa.Column("batching", _Json, nullable=False),
        sa.Column("queue", _Json, nullable=False),
        sa.Column("create_time_ns", sa.BigInteger, nullable=False),
        sa.Column("update_time_ns", sa.BigInteger, nullable=False),
        sa.Column("etag", sa.String(32), nullable=False),
    )
    op.create_table(
        "nodes",
        sa.Column("node", sa.String(80), primary_key=True),
        sa.Column("registry", sa.String(255), nullable=False),
        sa.Column("seen_ns", sa.BigInteger, nullable=False),
    )
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
        sa.Column("update_time_ns", sa.BigInteger, nullable=False),
    )
    op.create_index(None, "instances", ["model"])
    op.create_table(
        "requests",
        sa.Column("request_id", sa.String(36), primary_key=True),
        sa.Column("target", sa.Text, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
        sa.Column("create_time_ns", sa.BigInteger, nullable=False),
    )
    op.create_index(None, "requests", ["create_time_ns"])
    op.create_table(
        "revision",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "changes",
        sa.Column("revision", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("is_deleted", sa.Boolean, nullable=False),
        sa.Column("body", sa.LargeBinary, nullable=False),
    )
    # Revisions of a new database begin above those of any older one, so that a follower of a database that was lost
    # is told to begin anew, instead of waiting for numbers that never come.
    revisions = sa.table("revision", sa.column("id"), sa.column("value"))
    op.execute(sa.insert(revisions).values(id=1, value=time.time_ns() // 10**6))
