"""Components that run a stack as containers on a Docker engine."""
