"""The aws platform."""
