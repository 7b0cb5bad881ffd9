"""RORem's flows: the cycle, its rounds, retraining."""
