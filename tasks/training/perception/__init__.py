"""Training perception's tiny models on the studio and the sample clip: one file a model, one table of all."""
