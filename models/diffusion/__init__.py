"""Parts of latent diffusion: the inpainting network, SDXL, the tiny VAE and published checkpoints."""
