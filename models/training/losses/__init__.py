"""The loss of one batch, in one file for each network (perception's four share one)."""
