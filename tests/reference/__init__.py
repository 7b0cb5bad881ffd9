"""Writes the pages of docs/reference/ from the code, and says whether they are up to date."""
