"""The ledger's migrations, run by Alembic from inside the package."""

HEAD = "0005"
"""The newest revision, so that a ledger already there opens without loading Alembic."""
