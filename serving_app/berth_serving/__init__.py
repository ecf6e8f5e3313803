"""The program inside every berth: one model version behind the Open Inference Protocol."""

__version__ = "0.1.0"
