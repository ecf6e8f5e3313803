"""The digits model with the pre- and post-processing of `examples/processing`."""

import runpy
import tempfile
from pathlib import Path
from typing import Any

from berth.operations.package import PackagedModel, package_model
from tests.repository import REPOSITORY

BITMAPS = "bitmaps"
"""Input `bitmap` of 32x32 pixels, outputs `digit` and `confidence`."""
EXAMPLE = REPOSITORY / "examples" / "processing"


def package_bitmap_model(into: Path, processing: Path = EXAMPLE / "serve.py") -> PackagedModel:
    """Package version 1 as docs/how-to/add-processing.md does."""
    with tempfile.TemporaryDirectory() as directory:
        rows = Path(directory, "rows.npz")
        runpy.run_path(str(EXAMPLE / "rows.py"))["main"](str(rows))
        return package_model(
            REPOSITORY / "models" / "digits" / "2" / "model.onnx",
            name=BITMAPS,
            version="1",
            rows=rows,
            processing=processing,
            into=into,
        )


def build_bitmap_request(ink: int) -> dict[str, Any]:
    """Return a request with one image: a line of pixels with the value `ink`."""
    data = [ink if column == 16 else 0 for _ in range(32) for column in range(32)]
    tensor = {"name": "bitmap", "datatype": "UINT8", "shape": [1, 32, 32], "data": data}
    return {"inputs": [tensor]}
