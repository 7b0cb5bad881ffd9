"""The studio: scenes with exact truth, any size and number, from a seed."""
