"""Hardened images that Berth builds from Debian packages, wheels and Python source."""
