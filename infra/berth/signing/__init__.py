"""Creating signatures: of model versions with `model-signing`, and of images in cosign's format."""
