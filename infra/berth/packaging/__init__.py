"""The steps of `berth package`, one per file; `berth.operations.package` puts them together."""
