"""Errors that end a command with one message."""


class OperationError(RuntimeError):
    """An operation failed. The message states what happened, where, and what to do."""
