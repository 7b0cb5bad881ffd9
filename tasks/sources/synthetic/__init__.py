"""Render synthetic scenes with exact truth, in any size and number, from a seed."""
