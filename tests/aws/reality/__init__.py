"""Checks of what a stack declares against the behavior of real AWS, over plain data."""
