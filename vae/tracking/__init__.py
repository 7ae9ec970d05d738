"""Weights & Biases: offline without a key, and never able to stop or stall training."""
