"""Migrations of the ledger, run by Alembic from inside the package."""

HEAD = "0008"
"""The newest revision. An existing ledger at this revision opens without loading Alembic."""
