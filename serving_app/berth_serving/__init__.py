"""The program in every berth: serves one model version over the Open Inference Protocol."""

__version__ = "0.1.0"
