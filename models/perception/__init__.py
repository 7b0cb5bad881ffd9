"""Perception: what finds objects and cuts their masks, one back end a file, each behind its Protocol."""
