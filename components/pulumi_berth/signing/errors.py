"""Errors of signatures."""


class SignatureError(ValueError):
    """A signature or a key that cannot be accepted. The message states the reason and the fix."""
