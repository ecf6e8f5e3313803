"""What brings a set of reference data to a model: checked by sha256, file by file."""
