"""Trained models: stored with their cards, promoted, opened by name."""
