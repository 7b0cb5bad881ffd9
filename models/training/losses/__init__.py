"""The loss of one batch, one file a network."""
