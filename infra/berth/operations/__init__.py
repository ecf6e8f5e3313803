"""What a command does: one file per operation. No operation knows a platform by name."""
