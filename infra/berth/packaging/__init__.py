"""The steps of `berth package`, one per module. `berth.operations.package` runs them in order."""
