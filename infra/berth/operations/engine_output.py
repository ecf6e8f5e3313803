"""The engine's progress as lines of text, with each error once and without Python tracebacks.

Where standard output is no terminal, such as in CI, the engine prints an error with the resource's
progress, again when the resource is done, and again under `Diagnostics`. Only the last one stays.
An exception of a program or of a dynamic provider brings a traceback of Berth's own code, which
tells a user nothing: its last line has the message.
"""

import re
from collections.abc import Iterable, Iterator

# A row of a resource's progress: an operation or spaces, the type, and the rest.
_PROGRESS_ERROR = re.compile(
    r"^(?P<row>[ +\-~<>=!]{3,4} [a-z][\w.-]*(?::[\w./-]+){1,2} .*?)\s*\berror: "
)
_TRACEBACK = "Traceback (most recent call last):"
_EXCEPTION = re.compile(r"^(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt)\b(?:: )?")
# The prefixes that gRPC and the language host put before the message of an exception.
_PREFIXES = re.compile(
    r"(?:Exception calling application: |Program failed with an unhandled exception:\s*)"
)
_DIAGNOSTICS = "Diagnostics:"


def clean_lines(lines: Iterable[str]) -> Iterator[str]:
    """Yield the engine's output lines without repeated errors and without tracebacks."""
    shown: set[str] = set()
    is_in_diagnostics = False
    traceback_indent: int | None = None
    is_continued = False
    opening = ""
    for line in lines:
        text = line.rstrip("\n")
        if text and not text[0].isspace():
            is_in_diagnostics = text.startswith(_DIAGNOSTICS)
            if is_in_diagnostics:
                shown.clear()
        indent = len(text) - len(text.lstrip())
        if _TRACEBACK in text:
            traceback_indent = indent
            continue
        if traceback_indent is not None:
            if indent > traceback_indent or not text.strip():
                continue
            traceback_indent = None
            text = " " * indent + _EXCEPTION.sub("", text.lstrip())
        progress = None if is_in_diagnostics else _PROGRESS_ERROR.match(text)
        if progress is not None:
            is_continued = True
            yield progress["row"].rstrip() + "\n"
            continue
        if is_continued and not is_in_diagnostics and _is_continuation(text):
            continue
        is_continued = False
        text = _PREFIXES.sub("", text)
        if is_in_diagnostics and text.strip():
            if text.strip() == "error:":
                opening = text.rstrip() + " "  # The message follows the traceback.
                continue
            text, opening = (opening + text.lstrip() if opening else text), ""
            message = text.strip().removeprefix("error: ")
            if message in shown and not message.endswith(":"):
                continue
            shown.add(message)
        yield text + "\n"


def _is_continuation(text: str) -> bool:
    """Return whether a line continues the error that a row of progress ended with."""
    is_row = re.match(r"^[ +\-~<>=!]{3,4} [a-z][\w.-]*:", text) is not None
    return bool(text.strip()) and not is_row and not text.startswith(("@", "Diag", "Res", "Out"))
