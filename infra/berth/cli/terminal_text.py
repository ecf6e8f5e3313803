"""Text on terminals and in files that do not use UTF-8."""

import codecs
import io
import sys

_HANDLER = "berth.ascii"
_REPLACEMENTS = {"→": "->", "…": "...", "⚠": "!", "≤": "<="}


def allow_any_encoding() -> None:
    """Let output replace what its encoding does not have, instead of ending the command."""
    codecs.register_error(_HANDLER, _replace)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
            stream.reconfigure(errors=_HANDLER)


def _replace(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_REPLACEMENTS.get(each, "?") for each in text), error.end
