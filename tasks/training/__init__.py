"""Share data, latent cache and progress between trainings, and train the shipped models."""
