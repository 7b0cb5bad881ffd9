"""Train the tiny perception models on synthetic scenes and the sample clip: one file for each model."""
