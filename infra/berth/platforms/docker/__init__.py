"""The docker platform: containers on a Docker engine, without a cluster."""
