"""Make composites: cut-outs with their effects on plates, with the exact truth (ObjectClear)."""
