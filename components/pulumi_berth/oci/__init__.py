"""OCI layers, documents and a registry client, without a container engine: plain functions."""
