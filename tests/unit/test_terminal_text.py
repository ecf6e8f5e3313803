"""Output in an encoding that lacks characters that Berth prints."""

import io
import sys

import pytest

from berth.cli.terminal_text import allow_any_encoding


@pytest.mark.parametrize(
    ("encoding", "expected"),
    [("ascii", "1 -> 2 ... ! ?"), ("iso-8859-1", "1 -> 2 ... ! é"), ("utf-8", "1 → 2 … ⚠ é")],
)
def test_output_replaces_what_the_encoding_does_not_have(
    monkeypatch: pytest.MonkeyPatch, encoding: str, expected: str
) -> None:
    written = io.BytesIO()
    stream = io.TextIOWrapper(written, encoding=encoding, write_through=True)
    monkeypatch.setattr(sys, "stdout", stream)
    allow_any_encoding()
    sys.stdout.write("1 → 2 … ⚠ é\n")
    assert written.getvalue().decode(encoding) == f"{expected}\n"
