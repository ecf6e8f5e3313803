"""The customer keys of an aws stack."""

from pydantic import Field

from berth.spec.section import Section


class EncryptionSpec(Section):
    """KMS keys, one per purpose; everything at rest is encrypted with one of them."""

    rotation_days: int = Field(default=365, ge=90, le=2560)
    """Days until a key's material is changed."""
    deletion_window_days: int = Field(default=30, ge=7, le=30)
    """Days that a deleted key can still be had back."""
