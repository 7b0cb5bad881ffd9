"""Remove objects from a user's own files."""
