"""Adds text in and out to a network: tokenizer, pooling and labels as ONNX operators."""
