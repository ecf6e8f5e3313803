"""Datasets (versioned reference data) in registries and S3 buckets."""
