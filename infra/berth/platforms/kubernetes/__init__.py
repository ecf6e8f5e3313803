"""The kubernetes platform."""
