"""How it runs elsewhere."""
