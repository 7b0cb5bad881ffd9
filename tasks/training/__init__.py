"""What trainings share: data, latent cache, progress; and the shipped models' trainings."""
