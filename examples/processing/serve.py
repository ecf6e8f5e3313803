"""Pre- and post-processing around the digits model: bitmaps in, digits out.

The model reads 64 numbers: how many pixels of each 4x4 block of a 32x32 bitmap have ink. Clients
have the bitmap, and want a digit.
"""

import numpy as np

from berth_serving.processing import Arrays, InvalidInputError, Tensor

INPUTS = [Tensor("bitmap", "UINT8", [-1, 32, 32])]
OUTPUTS = [Tensor("digit", "BYTES", [-1]), Tensor("confidence", "FP32", [-1])]

# Below it, the answer is "unsure".
_LOWEST_CONFIDENCE = 0.5


def preprocess(inputs: Arrays) -> Arrays:
    """Count the pixels with ink in each block of 4x4 pixels."""
    bitmap = inputs["bitmap"]
    if np.any(bitmap > 1):
        raise InvalidInputError("bitmap: send 1 for a pixel with ink, and 0 for one without.")
    is_empty = ~bitmap.any(axis=(1, 2))
    if is_empty.any():
        raise InvalidInputError(f"bitmap: image {int(is_empty.argmax())} has no ink.")
    blocks = bitmap.reshape(-1, 8, 4, 8, 4).sum(axis=(2, 4))
    return {"input": blocks.reshape(-1, 64).astype(np.float32)}


def postprocess(outputs: Arrays) -> Arrays:
    """Return the most probable digit as text, with its probability."""
    probabilities = outputs["probabilities"]
    confidence = probabilities.max(axis=1)
    digit = probabilities.argmax(axis=1).astype(str)
    return {
        "digit": np.where(confidence < _LOWEST_CONFIDENCE, "unsure", digit),
        "confidence": confidence,
    }
