"""Alembic's entry point: the connection comes from `database.migrate`, which holds the lock."""

from alembic import context

connection = context.config.attributes["connection"]
context.configure(connection=connection, version_table_schema="dsar", transaction_per_migration=True)
with context.begin_transaction():
    context.run_migrations()
