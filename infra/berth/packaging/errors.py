"""The one exception that `berth package` raises for its reader."""


class PackageError(Exception):
    """A model that was not packaged; the message says what is wrong, where, and what to do.

    Nothing was written.
    """


def first_line(error: BaseException) -> str:
    """An error of a framework in one line: its type, and the first line of what it says."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
