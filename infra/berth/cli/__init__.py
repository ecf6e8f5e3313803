"""The command line: one module per command, which contains a command of the same name."""
