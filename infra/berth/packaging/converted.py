"""What a framework's function hands on: an ONNX model, and what to hold it against."""

from dataclasses import dataclass, field
from pathlib import Path

from berth.packaging.rows import Array


@dataclass(frozen=True)
class Converted:
    """A model as ONNX, with real rows and the framework's own answers to them.

    `model` is the content of model.onnx; `data_files` maps the relative path of each further file
    that it refers to (ONNX external data) to where that file lies now. `rows` is by input name,
    `answers` by output name. For an output without `answers` the graph as it is written, run with
    every optimisation off, gives them. `notes` tell the user what was not packaged.
    """

    model: bytes
    rows: dict[str, Array]
    framework: str
    framework_version: str
    converter: str
    answers: dict[str, Array] = field(default_factory=dict)
    data_files: dict[str, Path] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
