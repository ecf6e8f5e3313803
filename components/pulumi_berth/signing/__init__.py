"""Signatures of model versions and images: reading and verifying them."""
