"""The model card: `model.yaml`, beside the files of one model version.

A model version is a directory `<name>/<version>/` that holds `model.yaml` and the files that it
names, `model.onnx` first among them. The card is the version's manifest: it gives the sha256 of
every other file, so the sha256 of the card itself (`digest`) identifies the whole version, the
way an image manifest's digest identifies an image.
"""

import hashlib
from pathlib import Path
from typing import Any

import msgspec

CARD_FILE = "model.yaml"
MODEL_FILE = "model.onnx"
SCHEMA = "berth/model/v1"


class CardError(ValueError):
    """A model directory that cannot be served as it is; the message names file and remedy."""


class Tensor(msgspec.Struct, forbid_unknown_fields=True):
    """One input or output: its name, Open Inference Protocol datatype and shape.

    A dimension of -1 is free; any other is fixed.
    """

    name: str
    datatype: str
    shape: list[int]


class Source(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """Where the model came from: what a reader needs to make it again."""

    framework: str
    framework_version: str = ""
    converter: str = ""
    dataset: str = ""
    trained_by: str = ""


class ModelCard(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """`model.yaml` as data.

    `files` maps each file of the version (relative path) to `sha256:<64 hex digits>`.
    `example` is an Open Inference Protocol request body that the model answers; it warms the
    session up at start and is what `berth invoke` sends.
    `metrics` are numbers measured on held-out data, reproducible from `source`.
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
    """The card in `directory`.

    Raises:
        CardError: no card, not YAML, a key missing or unknown, or another schema.
    """
    path = directory / CARD_FILE
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise CardError(
            f"{path}: cannot be read ({error.strerror}); "
            f"a model version is a directory with {CARD_FILE} and {MODEL_FILE}, "
            "made by `berth package`"
        ) from error
    try:
        card = msgspec.yaml.decode(raw, type=ModelCard)
    except (msgspec.ValidationError, msgspec.DecodeError) as error:
        raise CardError(f"{path}: {error}") from error
    if card.schema != SCHEMA:
        raise CardError(f"{path}: schema is {card.schema!r}; this version reads {SCHEMA!r}")
    if MODEL_FILE not in card.files:
        raise CardError(f"{path}: files must name {MODEL_FILE}")
    return card


def digest(directory: Path) -> str:
    """The version's identity, `sha256:<hex>`: the sha256 of its card."""
    return file_sha256(directory / CARD_FILE)


def file_sha256(path: Path) -> str:
    """`sha256:<hex>` of one file, read in blocks."""
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def verify_files(directory: Path, card: ModelCard) -> None:
    """Hold every file that the card names against its sha256.

    Raises:
        CardError: naming each file that is missing, lies outside `directory` or differs.
    """
    root = directory.resolve()
    wrong: list[str] = []
    for name, expected in card.files.items():
        path = (directory / name).resolve()
        if not path.is_relative_to(root):
            wrong.append(f"{name}: lies outside the model's directory")
        elif not path.is_file():
            wrong.append(f"{name}: missing")
        elif (actual := file_sha256(path)) != expected:
            wrong.append(f"{name}: is {actual}, the card says {expected}")
    if wrong:
        raise CardError(
            f"{directory}: files differ from {CARD_FILE}: "
            + "; ".join(wrong)
            + "; package the version again, or put the packaged files back"
        )
