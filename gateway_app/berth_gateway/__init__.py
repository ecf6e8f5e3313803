"""The front door of a stack: keys, limits, traffic and metrics in front of the berths."""

__version__ = "0.1.0"
