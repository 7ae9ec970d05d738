"""A pulled model at work on a user's images: latents, decodings, scores."""
