"""The kubernetes platform: model versions on any Kubernetes cluster."""
