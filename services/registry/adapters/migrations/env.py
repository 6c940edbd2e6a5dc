"""Run by Alembic, on the connection and inside the transaction that ``schema.upgrade`` was given."""

from __future__ import annotations

from alembic import context

from services.registry.adapters.tables import metadata

context.configure(connection=context.config.attributes["connection"], target_metadata=metadata)
context.run_migrations()
