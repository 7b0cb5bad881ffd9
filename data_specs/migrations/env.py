"""Run the migrations for Alembic, over the given connection, inside its transaction."""

from alembic import context

from data_specs.ledger import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
)
with context.begin_transaction():
    context.run_migrations()
