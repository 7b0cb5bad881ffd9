"""RORem's models (arXiv 2501.00740): remover, discriminator, calibration, LCM-LoRA."""
