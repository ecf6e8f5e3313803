"""What every model that Berth converts has in common."""

# The name of the one input.
INPUT = "input"

# ONNX 1.13's set (end of 2022): it has every operator that the converters emit, any onnxruntime
# from 1.14 on runs it, and being fixed it keeps the bytes of a packaged model the same when
# converters learn newer sets. ai.onnx.ml 3 goes with it: 4 and later move tree ensembles to
# operators that older runtimes lack.
OPSET = {"": 18, "ai.onnx.ml": 3}
