"""Classical removers, to compare the learned ones with."""
