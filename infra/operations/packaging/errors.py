"""The one exception that `berth package` raises for its reader."""


class PackageError(Exception):
    """A model that was not packaged; the message says what is wrong, where, and what to do.

    Nothing was written.
    """
