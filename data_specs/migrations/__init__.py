"""Migrations of the ledger, run by Alembic from inside the package."""

HEAD = "0009"
"""The newest revision. An existing ledger at this revision opens without loading Alembic."""
