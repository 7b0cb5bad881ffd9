"""Compositing: cut-outs with their effects, laid over plates, with the exact truth (ObjectClear)."""
