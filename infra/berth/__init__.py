"""Berth: deploys trained models, each version in its own serving container."""
