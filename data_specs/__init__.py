"""The nouns: frozen, typed records and the ledger's tables. Imports nothing of ours."""
