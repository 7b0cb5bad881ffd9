"""Records: frozen, typed data classes and the ledger's tables.

This package imports nothing else of the project.
"""
