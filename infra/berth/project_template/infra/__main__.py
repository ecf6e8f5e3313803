"""The Pulumi program of this project's stacks."""

from berth.program import run

run()
