"""The database's tables. What is asked for by SQL is a column; what is only read as a whole is JSON."""

from __future__ import annotations

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
)

REVISION = "0013"
"""The last migration's: a database that has it is up to date."""

metadata = MetaData(
    naming_convention={"ix": "ix_%(table_name)s_%(column_0_N_name)s", "fk": "fk_%(table_name)s_%(column_0_N_name)s"}
)

# Lists are by name, byte for byte, whatever language a PostgreSQL was set up for.
_Id = String(64).with_variant(String(64, collation="C"), "postgresql")
_InstanceId = String(255).with_variant(String(255, collation="C"), "postgresql")
_Json = JSON(none_as_null=True)

models = Table(
    "models",
    metadata,
    Column("model", _Id, primary_key=True),
    Column("description", Text, nullable=False),
    Column("labels", _Json, nullable=False),
    Column("last_version", Integer, nullable=False),
    Column("trust_policy", _Json, nullable=False),
    Column("create_time_ns", BigInteger, nullable=False),
    Column("update_time_ns", BigInteger, nullable=False),
    Column("etag", String(32), nullable=False),
)

artifacts = Table(
    "artifacts",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("size_bytes", BigInteger, nullable=False),
    # Content that no version names is kept until then, for whom it was promised to.
    Column("keep_until_ns", BigInteger, nullable=False),
    Column("key", String(100), nullable=False),
)

# What is stored under these keys is removed then, and nobody was told of it or needs it any more. Keys are written down
# here before anything is stored under them, so that nothing is stored that nobody knows of.
garbage = Table(
    "garbage",
    metadata,
    Column("key", String(100), primary_key=True),
    Column("sha256", String(64), nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("remove_ns", BigInteger, nullable=False),
)

versions = Table(
    "model_versions",
    metadata,
    Column("model", _Id, ForeignKey(models.c.model), primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("files", _Json, nullable=False),
    Column("size_bytes", BigInteger, nullable=False),
    Column("format", String(64), nullable=False),
    Column("trusted", Boolean, nullable=False),
    Column("manifest", _Json, nullable=False),
    Column("signature", _Json),
    Column("state", Integer, nullable=False),
    Column("state_reason", Text, nullable=False),
    Column("validation_report", _Json),
    Column("metrics", _Json, nullable=False),
    Column("labels", _Json, nullable=False),
    Column("create_time_ns", BigInteger, nullable=False),
    Column("update_time_ns", BigInteger, nullable=False),
    Column("etag", String(32), nullable=False),
    Column("claim_node", String(80), nullable=False),
    Column("claim_end_ns", BigInteger, nullable=False),
    Column("optimizations", _Json, nullable=False),
    Column("trust", _Json, nullable=False),
    Column("lineage", _Json, nullable=False),
    Index(None, "state"),
)

# Which content the versions are made of.
version_files = Table(
    "version_files",
    metadata,
    Column("model", _Id, primary_key=True),
    Column("version", Integer, primary_key=True, autoincrement=False),
    Column("sha256", String(64), ForeignKey(artifacts.c.sha256), primary_key=True),
    ForeignKeyConstraint(["model", "version"], [versions.c.model, versions.c.version]),
    Index(None, "sha256"),
)

aliases = Table(
    "aliases",
    metadata,
    Column("model", _Id, primary_key=True),
    Column("alias", _Id, primary_key=True),
    Column("version", Integer, nullable=False),
    Column("update_time_ns", BigInteger, nullable=False),
    Column("etag", String(32), nullable=False),
    ForeignKeyConstraint(["model", "version"], [versions.c.model, versions.c.version]),
)

deployments = Table(
    "deployments",
    metadata,
    Column("model", _Id, ForeignKey(models.c.model), primary_key=True),
    Column("versions", _Json, nullable=False),
    Column("replicas", Integer, nullable=False),
    Column("batching", _Json, nullable=False),
    Column("queue", _Json, nullable=False),
    Column("optimization", Integer, nullable=False),
    Column("placements", _Json, nullable=False),
    Column("pinned", Boolean, nullable=False),
    Column("slo", _Json, nullable=False),
    Column("quarantines", _Json, nullable=False),
    # While a rollout divides its requests.
    Column("split", _Json),
    Column("feedback", _Json, nullable=False),
    Column("create_time_ns", BigInteger, nullable=False),
    Column("update_time_ns", BigInteger, nullable=False),
    Column("etag", String(32), nullable=False),
)

rollouts = Table(
    "rollouts",
    metadata,
    # Not a foreign key: what became of a deployment's rollouts is kept when it is deleted.
    Column("model", _Id, primary_key=True),
    Column("rollout", Integer, primary_key=True, autoincrement=False),
    Column("state", Integer, nullable=False),
    # Whether the registry has anything left to do about it.
    Column("is_open", Boolean, nullable=False),
    Column("body", _Json, nullable=False),
    Column("verdict", _Json),
    Column("events", _Json, nullable=False),
    Column("etag", String(32), nullable=False),
    Index(None, "is_open"),
)

nodes = Table("nodes", metadata, Column("node", String(80), primary_key=True))

instances = Table(
    "instances",
    metadata,
    Column("node", String(80), ForeignKey(nodes.c.node), primary_key=True),
    Column("instance", _InstanceId, primary_key=True),
    # Not a foreign key: a process may outlive its version's row by the time it takes to drain.
    Column("model", _Id, nullable=False),
    Column("version", String(160), nullable=False),
    Column("state", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("progress", Double, nullable=False),
    Column("device", Text, nullable=False),
    Column("pid", Integer, nullable=False),
    Column("restarts", Integer, nullable=False),
    Column("variant", _Json, nullable=False),
    Column("update_time_ns", BigInteger, nullable=False),
    Index(None, "model"),
)

signed_files = Table(
    "signed_files",
    metadata,
    Column("sha256", String(64), primary_key=True),
    Column("content", LargeBinary, nullable=False),
)
"""Copies of what versions' signatures are judged by, so that no transaction waits for where content is kept."""

signing_keys = Table(
    "signing_keys",
    metadata,
    Column("key_set", _Id, primary_key=True),
    Column("key", _Id, primary_key=True),
    Column("public_key", Text, nullable=False),
    Column("fingerprint", String(64), nullable=False),
    Column("create_time_ns", BigInteger, nullable=False),
    Column("creator", Text, nullable=False),
    Column("revoke_time_ns", BigInteger, nullable=False),
    Column("revoker", Text, nullable=False),
    Column("revoke_reason", Text, nullable=False),
    Column("etag", String(32), nullable=False),
    Index(None, "fingerprint"),
)

# Places that are watched: what is asked for, and how far that is.
sources = Table(
    "sources",
    metadata,
    Column("source", _Id, primary_key=True),
    Column("model", _Id, ForeignKey(models.c.model), nullable=False),
    Column("wanted", _Json, nullable=False),
    Column("progress", _Json, nullable=False),
    Column("create_time_ns", BigInteger, nullable=False),
    Column("update_time_ns", BigInteger, nullable=False),
    Column("creator", Text, nullable=False),
    Column("etag", String(32), nullable=False),
    Index(None, "model"),
)

# Content that nobody loads any more, whichever version has it.
revoked_content = Table(
    "revoked_content",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("revoke_time_ns", BigInteger, nullable=False),
    Column("revoker", Text, nullable=False),
    Column("revoke_reason", Text, nullable=False),
)

# Never updated, never deleted from: triggers see to it.
audit_entries = Table(
    "audit_entries",
    metadata,
    Column("sequence", BigInteger, primary_key=True, autoincrement=False),
    Column("log_time_ns", BigInteger, nullable=False),
    Column("actor", Text, nullable=False),
    Column("peer", Text, nullable=False),
    Column("action", String(64), nullable=False),
    Column("resource", Text, nullable=False),
    # The id of the model that it is about; empty where it is about none.
    Column("model", _Id, nullable=False),
    # As text: what is digested must come back to the letter.
    Column("details", Text, nullable=False),
    Column("previous_sha256", String(64), nullable=False),
    Column("sha256", String(64), nullable=False),
    Index(None, "model"),
    Index(None, "log_time_ns"),
)

requests = Table(
    "requests",
    metadata,
    Column("request_id", String(36), primary_key=True),
    Column("target", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("create_time_ns", BigInteger, nullable=False),
    Index(None, "create_time_ns"),
)

revision = Table(
    "revision",
    metadata,
    Column("id", Integer, primary_key=True),
    Column("value", BigInteger, nullable=False),
    # Which registry writes: how often that changed, its address, and whether it answers the others.
    Column("term", BigInteger, nullable=False),
    Column("writer", String(255), nullable=False),
    Column("asked", BigInteger, nullable=False),
    Column("answered", BigInteger, nullable=False),
)

changes = Table(
    "changes",
    metadata,
    Column("revision", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", String(32), nullable=False),
    Column("is_deleted", Boolean, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
