"""Training of the networks: losses, loop, samplers, checkpoints and distribution over processes."""
