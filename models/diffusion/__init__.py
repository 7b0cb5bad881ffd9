"""Latent diffusion parts: the inpainting network, SDXL, the tiny VAE, published checkpoints."""
