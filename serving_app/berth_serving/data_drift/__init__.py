"""Data drift: compares the inputs and outputs of requests with those of the training data."""
