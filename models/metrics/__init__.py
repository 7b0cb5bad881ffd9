"""Metrics of a removal, one file for each family. Metrics with weights read them from a folder."""
