"""The style that all pages share."""

from importlib.resources import files


def read_style() -> str:
    """Return the style sheet, which is light or dark as the reader's system."""
    return files(__package__).joinpath("base.css").read_text(encoding="utf-8")
