"""Measure removals: success, metrics, statistics, test sets."""
