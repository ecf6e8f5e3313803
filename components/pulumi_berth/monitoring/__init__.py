"""Grafana dashboard and Prometheus rules of a stack, as plain data for any Prometheus."""
