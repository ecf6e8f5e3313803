"""Components that run a stack as supervised processes on this machine."""
