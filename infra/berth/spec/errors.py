"""Problems in a specification, and the error that reports all of them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Self

from pydantic_core import PydanticCustomError

Path = tuple[str | int, ...]
"""Steps from a section (`models`) to a value. An integer is a list index."""

RULE = "rule"
"""The type of the pydantic errors that carry our own problems."""


class SpecError(ValueError):
    """A specification that cannot be deployed.

    Attributes:
        problems: One line each: file, line, key, value, and what to do.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)

    @classmethod
    def of(cls, message: str) -> Self:
        """Return an error with one problem."""
        return cls([message])


@dataclass(frozen=True)
class Problem:
    """A violated rule.

    Attributes:
        path: Path of the value. A section's validator gives it relative to the section.
        message: What is wrong and what to do. It follows the key and the value.
        show_value: If True, the error line contains the value.
    """

    path: Path
    message: str
    show_value: bool = True


def raise_problems(problems: Iterable[Problem]) -> None:
    """Raise all problems as one error inside a pydantic validator. Do nothing without any."""
    collected = list(problems)
    if collected:
        raise build_rule_error(*collected)


def build_rule_error(*problems: Problem) -> PydanticCustomError:
    """Build the error that a pydantic validator raises for these problems."""
    text = "; ".join(problem.message for problem in problems)
    # Pass the text as an argument: pydantic would expand braces in a template.
    return PydanticCustomError(RULE, "{text}", {"text": text, "problems": list(problems)})


def format_path(path: Path) -> str:
    """Format a path as Pulumi does: `berth:models.digits.versions["1.0"].path`."""
    first, *rest = path
    return f"berth:{escape_control(str(first))}" + "".join(_format_step(step) for step in rest)


def escape_control(text: str) -> str:
    """Escape line breaks and other control characters, so that `text` fits on one line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _format_step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    simple = step.replace("-", "").replace("_", "").isalnum()
    return f".{step}" if simple else f'["{escape_control(step)}"]'
