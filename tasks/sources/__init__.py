"""Read samples from sources: each source is a config and a function that yields samples and rejects."""
