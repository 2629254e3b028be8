"""The multi-kernel edge-attention graph autoencoder, its training and its clusters."""
