"""Versions of many files, with a manifest, in formats that have names instead of numbers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_Id = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")
_FORMATS = {"0": "", "1": "onnx", "2": "torch_export", "3": "torchscript"}
_Json = sa.JSON(none_as_null=True)


def upgrade() -> None:
    op.create_table(
        "version_files",
        sa.Column("model", _Id, primary_key=True),
        sa.Column("version", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("sha256", sa.String(64), sa.ForeignKey("artifacts.sha256"), primary_key=True),
        sa.ForeignKeyConstraint(["model", "version"], ["model_versions.model", "model_versions.version"]),
    )
    op.create_index(None, "version_files", ["sha256"])
    op.add_column("model_versions", sa.Column("files", _Json, nullable=False, server_default="[]"))
    op.add_column("model_versions", sa.Column("size_bytes", sa.BigInteger, nullable=False, server_default="0"))
    op.add_column("model_versions", sa.Column("manifest", _Json, nullable=False, server_default="{}"))
    _carry_over(op.get_bind())
    op.drop_index("ix_model_versions_sha256", "model_versions")
    with op.batch_alter_table("model_versions") as versions:
        versions.drop_column("sha256")
        versions.drop_column("filename")
        versions.alter_column("format", existing_type=sa.Integer, type_=sa.String(64), postgresql_using="format::text")
    table = sa.table("model_versions", sa.column("format"))
    for number, name in _FORMATS.items():
        op.execute(sa.update(table).where(table.c.format == number).values(format=name))


def _carry_over(connection: sa.Connection) -> None:
    """What has one file so far goes on with that one."""
    names = ("model", "version", "sha256", "filename", "size_bytes")
    versions = sa.table("model_versions", *map(sa.column, names), sa.column("files", _Json))
    artifacts = sa.table("artifacts", sa.column("sha256"), sa.column("size_bytes"))
    files = sa.table("version_files", sa.column("model"), sa.column("version"), sa.column("sha256"))
    columns = (versions.c.model, versions.c.version, versions.c.sha256, versions.c.filename, artifacts.c.size_bytes)
    joined = sa.select(*columns).join_from(versions, artifacts, versions.c.sha256 == artifacts.c.sha256)
    for model, version, sha256, filename, size_bytes in connection.execute(joined).all():
        connection.execute(sa.insert(files).values(model=model, version=version, sha256=sha256))
        file = {"sha256": sha256, "size_bytes": size_bytes, "path": filename or "model"}
        is_it = (versions.c.model == model) & (versions.c.version == version)
        connection.execute(sa.update(versions).where(is_it).values(files=[file], size_bytes=size_bytes))
