"""What is wrong with a specification, said so that its author can put it right."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pydantic_core import PydanticCustomError

# Steps from the section (`models`) down to a value; an integer is an index in a list.
Path = tuple[str | int, ...]

RULE = "rule"


class SpecError(ValueError):
    """A specification that cannot be deployed.

    Attributes:
        problems: one line each: file, line, key, value, and what is allowed.
    """

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = list(problems)

    @classmethod
    def of(cls, message: str) -> "SpecError":
        return cls([message])


@dataclass(frozen=True)
class Problem:
    """One broken rule.

    Attributes:
        path: where; relative to the section that found it, until the reader makes it whole.
        message: what is wrong and what is allowed; follows the value in the line that is shown.
        show_value: whether the value at `path` helps to understand the message.
    """

    path: Path
    message: str
    show_value: bool = True


def refuse(problems: Iterable[Problem]) -> None:
    """Raise, inside a pydantic validator, what tells these problems; nothing without any."""
    found = list(problems)
    if found:
        raise refusal(*found)


def refusal(*problems: Problem) -> PydanticCustomError:
    """What a pydantic validator raises for these problems."""
    text = "; ".join(problem.message for problem in problems)
    # The text is an argument, not the template: a brace in it is no placeholder.
    return PydanticCustomError(RULE, "{text}", {"text": text, "problems": list(problems)})


def rendered(path: Path) -> str:
    """A path as Pulumi writes it: `berth:models.digits.versions["1.0"].path`."""
    first, *rest = path
    return f"berth:{one_line(str(first))}" + "".join(_step(step) for step in rest)


def one_line(text: str) -> str:
    """`text` with line breaks and other control characters as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def _step(step: str | int) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    simple = step.replace("-", "").replace("_", "").isalnum()
    return f".{step}" if simple else f'["{one_line(step)}"]'
