"""Collect answers from people or from the oracle."""
