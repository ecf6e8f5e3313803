"""The gateway of a stack: authenticates, limits and routes requests to the berths."""

__version__ = "0.1.0"
