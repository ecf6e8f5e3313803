"""The Open Inference Protocol over HTTP: a thin layer over the data plane."""
