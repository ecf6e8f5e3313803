"""The exception that `berth package` reports to the user."""


class PackageError(Exception):
    """A model that was not packaged. Nothing was written.

    The message says what is wrong, where, and what to do.
    """


def first_line(error: BaseException) -> str:
    """Return a framework's error on one line: its type and the first line of its message."""
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
