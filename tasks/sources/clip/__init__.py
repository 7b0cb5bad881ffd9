"""Turn a fixed-camera clip into triplets."""
