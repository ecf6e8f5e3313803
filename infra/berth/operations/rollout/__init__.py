"""`berth rollout`: traffic moves to a new version step by step, while guards watch it."""
