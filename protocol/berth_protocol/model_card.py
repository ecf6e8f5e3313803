"""The model card: `model.yaml`, next to the files of one model version.

A model version is a directory `<name>/<version>/` that contains `model.yaml` and the files that
the card lists, including `model.onnx`. The card lists the SHA-256 of every other file. Therefore
the SHA-256 of the card, called `digest`, identifies the whole version, like the digest of an image
manifest.
"""

import hashlib
from pathlib import Path
from typing import Any

import msgspec

CARD_FILE = "model.yaml"
MODEL_FILE = "model.onnx"
SCHEMA = "berth/model/v1"


class CardError(ValueError):
    """A model directory that cannot be served. The message names the file and the fix."""


class Tensor(msgspec.Struct, forbid_unknown_fields=True):
    """One input or output of a model.

    Attributes:
        name: Name of the tensor.
        datatype: Datatype in the Open Inference Protocol.
        shape: Dimensions. -1 is a free dimension; any other number is fixed.
    """

    name: str
    datatype: str
    shape: list[int]


class Source(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The origin of a model: what a reader needs to reproduce it."""

    framework: str
    framework_version: str = ""
    converter: str = ""
    dataset: str = ""
    trained_by: str = ""


class ModelCard(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The content of `model.yaml`.

    Attributes:
        schema: Always `berth/model/v1`.
        name: Model name.
        version: Version name.
        files: Relative path of each file of the version -> `sha256:<64 hex digits>`.
        inputs: Input tensors, in the model's order.
        outputs: Output tensors, in the model's order.
        example: An Open Inference Protocol request that the model accepts. A berth runs it at
            startup, and `berth invoke` sends it.
        source: Origin of the model.
        description: Text for the model's documentation page.
        platform: Platform name in the protocol's model metadata.
        metrics: Numbers measured on held-out data, reproducible from `source`.
    """

    schema: str
    name: str
    version: str
    files: dict[str, str]
    inputs: list[Tensor]
    outputs: list[Tensor]
    example: dict[str, Any]
    source: Source
    description: str = ""
    platform: str = "onnx_onnxv1"
    metrics: dict[str, float] = {}


def read_card(directory: Path) -> ModelCard:
    """Read the card in `directory`.

    Raises:
        CardError: If the card is missing or is not YAML, if a key is missing or unknown, or if
            the schema is another one.
    """
    path = directory / CARD_FILE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CardError(
            f"{path}: cannot read the model card ({error.strerror}). A model version is a directory"
            f" with {CARD_FILE} and {MODEL_FILE}. Create one with 'berth package'."
        ) from error
    try:
        card = msgspec.yaml.decode(content, type=ModelCard)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise CardError(f"{path}: {error}") from error
    if card.schema != SCHEMA:
        raise CardError(
            f"{path}: schema: {card.schema!r} is not supported. This version of Berth reads"
            f" {SCHEMA!r}."
        )
    if MODEL_FILE not in card.files:
        raise CardError(f"{path}: files: {MODEL_FILE} is missing. Package the version again.")
    return card


def digest(directory: Path) -> str:
    """Return the identity of a version, `sha256:<hex>`: the SHA-256 of its card."""
    return file_sha256(directory / CARD_FILE)


def file_sha256(path: Path) -> str:
    """Return `sha256:<hex>` of one file, which is read in blocks."""
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def verify_files(directory: Path, card: ModelCard) -> None:
    """Check that every file that the card lists has the listed SHA-256.

    Raises:
        CardError: If a file is missing, is outside `directory` or differs. The message lists all.
    """
    root = directory.resolve()
    problems: list[str] = []
    for name, expected in card.files.items():
        path = (directory / name).resolve()
        if not path.is_relative_to(root):
            problems.append(f"{name}: is outside the model directory")
        elif not path.is_file():
            problems.append(f"{name}: is missing")
        elif (actual := file_sha256(path)) != expected:
            problems.append(f"{name}: is {actual}, expected {expected}")
    if problems:
        raise CardError(
            f"{directory}: checksum mismatch with {CARD_FILE}: {'; '.join(problems)}."
            " Restore the packaged files, or package the version again."
        )
