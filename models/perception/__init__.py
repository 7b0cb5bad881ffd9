"""Perception: models that find objects, cut masks and read the ground, one back end in each file."""
