"""Components that run model versions as supervised processes on this machine."""
