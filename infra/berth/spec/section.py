"""What every part of the specification has in common."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A part of the specification: typed strictly, immutable, without unknown keys."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )
