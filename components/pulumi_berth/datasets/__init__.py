"""Datasets (versioned reference data) in registries and S3 buckets."""

DATA = "opt/berth/data"
"""Directory of a dataset in its image."""
