"""Pictures as they stand in a page that has no files beside it."""

import base64

CAPTIONS = {
    "samples": "Samples from the prior, each as the picture that it expects",
    "reconstructions": "Test images, each above its reconstruction from the posterior mean",
    "interpolation": "Along a line in latent space, between the real test images at both ends",
    "latent": "Posterior means of test images; colour and number are the label",
}


def embed(data: bytes, kind: str = "png") -> str:
    """A picture's bytes as an address; `kind` is png or webp."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode()}"
