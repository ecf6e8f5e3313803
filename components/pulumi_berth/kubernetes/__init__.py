"""Components that run model versions on a Kubernetes cluster."""
