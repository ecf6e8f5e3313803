"""Versioned reference data: in a registry as an OCI artifact, or in an S3 bucket."""
