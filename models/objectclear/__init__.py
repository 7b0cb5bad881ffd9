"""ObjectClear's model (arXiv 2505.22636): network, attention, pipeline."""
