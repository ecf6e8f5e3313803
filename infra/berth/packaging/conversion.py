"""The result of converting a model to ONNX, and what all conversions have in common."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from berth.packaging.rows import Array
from berth.packaging.tables import Category

if TYPE_CHECKING:
    from onnx import ModelProto

INPUT = "input"
"""The name of the input of a model that has one input."""

OPSET = {"": 18, "ai.onnx.ml": 3}
"""The operator sets of converted models: those of ONNX 1.13 (end of 2022).

They contain every operator that the converters emit, and onnxruntime supports them since 1.14. They
are fixed, so that a newer converter produces the same bytes. ai.onnx.ml 4 and later would move tree
ensembles to operators that older runtimes do not have.
"""


@dataclass(frozen=True)
class Conversion:
    """A model in ONNX format, with real rows and the framework's own predictions for them.

    Attributes:
        model: Content of model.onnx, or the file that is packaged unchanged. A file may have 2 GB,
            so it is copied and not kept in memory.
        rows: Real rows by input name.
        framework: Framework that the model was trained with.
        framework_version: Version of the framework.
        converter: Program that converted the model, with its version.
        predictions: The framework's predictions for `rows` by output name. For an output without
            predictions, the graph without optimizations provides them.
        data_files: Current location of each further file that the model refers to (ONNX external
            data), by its path relative to the model.
        max_bytes: Longest text, in bytes of UTF-8, by the name of an input that has a limit.
        notes: Messages for the user about what was not packaged.
        categories: Values of categorical inputs by the name of the input, in the order of their
            codes.
    """

    model: bytes | Path
    rows: dict[str, Array]
    framework: str
    framework_version: str
    converter: str
    predictions: dict[str, Array] = field(default_factory=dict)
    data_files: dict[str, Path] = field(default_factory=dict)
    max_bytes: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    categories: dict[str, list[Category]] = field(default_factory=dict)

    def load_model(self) -> "ModelProto":
        """Return the model as an object, without the content of other files."""
        import onnx

        if isinstance(self.model, Path):
            return onnx.load(self.model, load_external_data=False)
        return onnx.load_model_from_string(self.model)
