"""Alembic's entry: migrates over the connection it is handed, inside that one's transaction."""

from alembic import context

from data_specs.ledger import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
