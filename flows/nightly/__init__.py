"""Scheduled flows: nightly composites and candidates, the daily report."""
