"""The steps of `berth package`, one per file; `infra.operations.package` puts them together."""
