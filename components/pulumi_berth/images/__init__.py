"""The hardened images that Berth builds from Debian packages, wheels and source."""
