"""What every part of the specification has in common."""

import re
from collections.abc import Callable
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict

from infra.spec.errors import Problem, refuse


class Section(BaseModel):
    """A part of the specification: typed strictly, immutable, without unknown keys."""

    model_config = ConfigDict(
        strict=True,
        frozen=True,
        extra="forbid",
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )


def matching(pattern: str, allowed: str) -> Callable[[str], str]:
    """A validator for text; `allowed` says in words what `pattern` accepts."""
    compiled = re.compile(pattern, re.ASCII)

    def check(value: str) -> str:
        if not compiled.fullmatch(value):
            refuse([Problem((), f"is not allowed; {allowed}")])
        return value

    return check


def _as_text(value: Any) -> Any:
    """YAML reads an unquoted 2 as a number."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


NAME_RULE = "1 to 40 lower-case letters, digits and hyphens, a letter first, a letter or digit last"
VERSION_RULE = (
    "1 to 16 lower-case letters, digits, dots and hyphens, a letter or digit first and last"
)

Name = Annotated[str, AfterValidator(matching(r"[a-z]([a-z0-9-]{0,38}[a-z0-9])?", NAME_RULE))]
Version = Annotated[
    str,
    BeforeValidator(_as_text),
    AfterValidator(matching(r"[a-z0-9]([a-z0-9.-]{0,14}[a-z0-9])?", VERSION_RULE)),
]
Digest = Annotated[
    str, AfterValidator(matching(r"sha256:[0-9a-f]{64}", "sha256: and 64 hexadecimal digits"))
]
