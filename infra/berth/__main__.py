"""`python -m berth`: the command line."""

from berth.cli.main import main

main(prog_name="berth")
