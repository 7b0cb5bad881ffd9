"""Measuring removals: success, metrics, statistics, test sets."""
