"""Pulumi components for hosting trained models: one serving container per model version."""
