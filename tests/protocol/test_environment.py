"""Settings from environment variables: every error names the variable and the allowed values."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from berth_protocol.environment import (
    LOG_LEVELS,
    PORT,
    EnvironmentReader,
    SettingError,
    directory,
    flag,
    number,
    one_of,
    token_file,
    whole_number,
)


def _read(text: str, parse: Callable[[str], Any]) -> Any:
    return EnvironmentReader({"APP_X": text}, "APP_").read("X", None, parse)


def test_valid_values_are_parsed(tmp_path: Path) -> None:
    assert _read("8080", PORT) == 8080
    assert _read("0.5", number(0, 1)) == 0.5
    assert _read("true", flag) is True
    assert _read("info", one_of(LOG_LEVELS)) == "info"
    assert _read(str(tmp_path), directory) == tmp_path


def test_unset_variable_has_default() -> None:
    assert EnvironmentReader({}, "APP_").read("X", "7", PORT) == 7


def test_unset_variable_without_default_is_rejected() -> None:
    with pytest.raises(SettingError, match="APP_X is not set"):
        EnvironmentReader({}, "APP_").read("X", None, PORT)


@pytest.mark.parametrize("text", ["", "0", "65536", "-1", "1.5", "1e3", " 1", "٣", "9" * 5000])
def test_invalid_whole_number_is_rejected(text: str) -> None:
    with pytest.raises(SettingError, match=r"APP_X=.*: must be a whole number from 1 to 65535"):
        _read(text, whole_number(1, 65535))


@pytest.mark.parametrize("text", ["", "nan", "inf", "-0.1", "1.1", "one"])
def test_invalid_number_is_rejected(text: str) -> None:
    with pytest.raises(SettingError, match=r"APP_X=.*: must be a number from 0 to 1"):
        _read(text, number(0, 1))


@pytest.mark.parametrize(
    ("parse", "problem"),
    [
        (flag, "must be true or false"),
        (one_of(("a", "b")), "must be one of a, b"),
        (directory, "is not a directory"),
    ],
)
def test_invalid_text_is_rejected(parse: Callable[[str], Any], problem: str) -> None:
    with pytest.raises(SettingError, match=f"APP_X='/nowhere': {problem}"):
        _read("/nowhere", parse)


def test_token_file_without_path_has_no_token() -> None:
    assert token_file("") is None


def test_token_is_read_without_line_break(tmp_path: Path) -> None:
    path = tmp_path / "token"
    path.write_text("s3cret\n")
    assert _read(str(path), token_file) == b"s3cret"


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "cannot be read"),
        (b" \n", "is empty"),
        (b"two words", "must contain one line of printable ASCII"),
        (b"two\nlines", "must contain one line of printable ASCII"),
        ("grüße".encode(), "must contain one line of printable ASCII"),
    ],
)
def test_invalid_token_file_is_rejected(
    tmp_path: Path, content: bytes | None, problem: str
) -> None:
    path = tmp_path / "token"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SettingError, match=problem):
        _read(str(path), token_file)
