"""Removing objects from a user's own files."""
