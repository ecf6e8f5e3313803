"""`berth watch` and `berth dashboard`: one snapshot of a stack, and what shows it."""
