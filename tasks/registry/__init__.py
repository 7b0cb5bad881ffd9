"""Store trained models with their cards, promote them, and open them by name."""
