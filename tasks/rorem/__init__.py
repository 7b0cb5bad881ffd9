"""The stages of RORem (arXiv 2501.00740), in the paper's order."""
