"""The program that copies reference data to a model and verifies its checksums."""
