"""Settings from environment variables, with error messages that name the variable."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

LOG_LEVELS = ("debug", "info", "warning", "error")


class SettingError(ValueError):
    """An environment variable is missing or has an invalid value. The message names both."""


class EnvironmentReader:
    """Reads variables that share a prefix, such as `BERTH_`."""

    def __init__(self, environment: Mapping[str, str], prefix: str) -> None:
        self._environment = environment
        self._prefix = prefix

    def read(self, name: str, default: str | None, parse: Callable[[str], T]) -> T:
        """Return the parsed value of the variable `prefix + name`.

        Args:
            default: Text to parse if the variable is unset. None makes the variable required.
            parse: Converts the text. Its ValueError describes what is wrong with the text.

        Raises:
            SettingError: If the variable is required and unset, or if it is invalid.
        """
        variable = self._prefix + name
        text = self._environment.get(variable, default)
        if text is None:
            raise SettingError(f"{variable} is not set. Set it; it has no default.")
        try:
            return parse(text)
        except ValueError as error:
            raise SettingError(f"{variable}={text!r}: {error}") from None


def whole_number(minimum: int, maximum: int) -> Callable[[str], int]:
    """Return a parser for whole numbers from `minimum` to `maximum`."""
    most_digits = len(str(maximum))

    def parse(text: str) -> int:
        is_number = text.isascii() and text.isdecimal() and len(text) <= most_digits
        if not is_number or not minimum <= int(text) <= maximum:
            raise ValueError(f"must be a whole number from {minimum} to {maximum}")
        return int(text)

    return parse


PORT = whole_number(1, 65535)
"""Parser for TCP ports."""

BODY_MEMORY = whole_number(1, 2**40)
"""Parser for the memory of all request bodies, in bytes."""


def number(minimum: float, maximum: float) -> Callable[[str], float]:
    """Return a parser for numbers from `minimum` to `maximum`."""

    def parse(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not minimum <= value <= maximum:
            raise ValueError(f"must be a number from {minimum:g} to {maximum:g}")
        return value

    return parse


def flag(text: str) -> bool:
    """Parse `true` or `false`."""
    if text not in ("true", "false"):
        raise ValueError("must be true or false")
    return text == "true"


def one_of(allowed: tuple[str, ...]) -> Callable[[str], str]:
    """Return a parser that accepts only the `allowed` texts."""

    def parse(text: str) -> str:
        if text not in allowed:
            raise ValueError(f"must be one of {', '.join(allowed)}")
        return text

    return parse


def directory(text: str) -> Path:
    """Parse the path of an existing directory."""
    path = Path(text)
    if not path.is_dir():
        raise ValueError("is not a directory")
    return path


def token_file(text: str) -> bytes | None:
    """Return the token in the file at path `text`, or None if `text` is empty.

    An empty token would let every caller in, so an empty file is an error.

    Raises:
        ValueError: If the file cannot be read, or does not contain one line of printable ASCII.
    """
    if not text:
        return None
    try:
        token = Path(text).read_bytes().strip()
    except OSError as error:
        raise ValueError(f"cannot be read: {error.strerror}") from None
    if not token:
        raise ValueError("is empty; it must contain the token")
    if not all(0x21 <= byte <= 0x7E for byte in token):
        raise ValueError("must contain one line of printable ASCII without spaces")
    return token
