"""A fixed-camera clip becomes triplets."""
