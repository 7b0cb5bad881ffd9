"""The loss of one batch, the loop, the checkpoint."""
