"""The local platform: supervised processes on this machine."""
