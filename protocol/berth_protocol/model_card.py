"""The model card: `model.yaml`, next to the files of one model version.

A model version is a directory `<name>/<version>/` that contains `model.yaml` and the files that
the card lists, including `model.onnx`. The card lists the SHA-256 of every other file, and a file
that it does not list makes the version invalid. Therefore the SHA-256 of the card, called `digest`,
identifies the whole version, like the digest of an image manifest.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from berth_protocol.datatypes import DATATYPES
from berth_protocol.training_statistics import STATISTICS_FILE

CARD_FILE = "model.yaml"
MODEL_FILE = "model.onnx"
EXAMPLE_FILE = "example.bin"
PROCESSING_FILE = "serve.py"
SCHEMA = "berth/model/v1"


class CardError(ValueError):
    """A model directory that cannot be served. The message names the file and the fix."""


class Tensor(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One input or output of a model.

    Attributes:
        name: Name of the tensor.
        datatype: Datatype in the Open Inference Protocol.
        shape: Dimensions. -1 is a free dimension; any other number is fixed.
        optional: Whether a request can omit this input. The model then uses its own default.
        categories: Values that a categorical input was trained with, in the order of their codes.
            Empty for other tensors.
        max_bytes: Longest element of a BYTES input, in bytes of UTF-8. 0 for no limit.
    """

    name: str
    datatype: str
    shape: list[int]
    optional: bool = False
    categories: list[str | int | float | bool] = []
    max_bytes: int = 0


class MlflowOrigin(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """Where a model of MLflow comes from. What MLflow did not record is empty.

    Attributes:
        uri: URI that was packaged, such as `models:/churn/3`. Empty for a directory.
        registered_model: Name in the registry.
        registered_version: Version in the registry.
        run_id: Run that logged the model.
        model_id: ID of the logged model.
    """

    uri: str = ""
    registered_model: str = ""
    registered_version: str = ""
    run_id: str = ""
    model_id: str = ""


class Source(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """The origin of a model: what a reader needs to reproduce it."""

    framework: str
    framework_version: str = ""
    converter: str = ""
    dataset: str = ""
    trained_by: str = ""
    mlflow: MlflowOrigin | None = None


class ModelCard(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True, kw_only=True):
    """The content of `model.yaml`.

    Attributes:
        schema: Always `berth/model/v1`.
        name: Model name.
        version: Version name.
        files: Relative path of each file of the version -> `sha256:<64 hex digits>`.
        inputs: Input tensors that clients send, in the model's order.
        outputs: Output tensors that clients receive, in the model's order.
        has_rows: Whether the first dimension of every input and output counts rows that the model
            predicts independently of each other. Only then does `max_batch` apply, and only then
            can requests share a run. None in a card that does not record it: a berth then decides
            by the shapes.
        no_rows_reason: Why `has_rows` is False.
        example: An Open Inference Protocol request that the model accepts. A berth runs it at
            startup, and `berth invoke` sends it.
        example_file: File that contains `example` as a whole request body with binary tensor data,
            for an example that is too large for the card. Each input of `example` then has the
            parameter `binary_data_size` instead of `data`. Empty if `example` contains the data.
        source: Origin of the model.
        processing: Python file of the version that runs before and after the model, always
            `serve.py`; see `berth_serving.processing`. `inputs` and `outputs` are then those of the
            file, where it declares them. Empty if the version has none.
        operators: Library of operators that ONNX Runtime does not contain -> its version. A berth
            loads these, and no others.
        statistics: File with statistics of the training data, always `statistics.json`; see
            `berth_protocol.training_statistics`. Empty if the version has none.
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
    processing: str = ""
    operators: dict[str, str] = {}
    has_rows: bool | None = None
    no_rows_reason: str = ""
    example_file: str = ""
    statistics: str = ""
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
    for key, value, expected in (
        ("processing", card.processing, PROCESSING_FILE),
        ("statistics", card.statistics, STATISTICS_FILE),
    ):
        if value not in ("", expected):
            raise CardError(
                f"{path}: {key}: {value!r} is not supported; it is always {expected}. Package the"
                " version again."
            )
        if value and value not in card.files:
            raise CardError(f"{path}: files: {value} is missing. Package the version again.")
    return card


def digest(directory: Path) -> str:
    """Return the identity of a version, `sha256:<hex>`: the SHA-256 of its card."""
    return file_sha256(directory / CARD_FILE)


def file_sha256(path: Path) -> str:
    """Return `sha256:<hex>` of one file, which is read in blocks."""
    with path.open("rb") as stream:
        return "sha256:" + hashlib.file_digest(stream, "sha256").hexdigest()


def verify_files(directory: Path, card: ModelCard) -> None:
    """Check that `directory` contains the files that the card lists, and no other file.

    Raises:
        CardError: If a file is missing, is outside `directory`, is a symbolic link, is not listed,
            or has another SHA-256 than the listed one. The message lists all.
    """
    root = directory.resolve()
    problems = list(_find_unlisted_files(root, card))
    problems += _find_changed_files(root, card)
    _raise_problems(directory, problems)


def check_listed(directory: Path, card: ModelCard) -> None:
    """Check that `directory` contains only files that the card lists, without reading them.

    Raises:
        CardError: If there is another file or a symbolic link, or if a listed file is outside.
    """
    problems = list(_find_unlisted_files(directory.resolve(), card))
    problems += [
        f"{name}: is outside the model directory"
        for name in card.files
        if Path(name).is_absolute() or ".." in Path(name).parts
    ]
    _raise_problems(directory, problems)


def _find_changed_files(root: Path, card: ModelCard) -> Iterator[str]:
    for name, expected in card.files.items():
        path = (root / name).resolve()
        if not path.is_relative_to(root):
            yield f"{name}: is outside the model directory"
        elif not path.is_file():
            yield f"{name}: is missing"
        elif path == root / name and (actual := file_sha256(path)) != expected:
            yield f"{name}: is {actual}, expected {expected}"


def _raise_problems(directory: Path, problems: list[str]) -> None:
    if problems:
        raise CardError(
            f"{directory}: the files differ from {CARD_FILE}: {'; '.join(problems)}."
            " Restore exactly the packaged files, or package the version again."
        )


def _find_unlisted_files(root: Path, card: ModelCard) -> Iterator[str]:
    """Describe each entry below `root` that is neither a directory nor a file of the version."""
    listed = {CARD_FILE, *card.files}
    for parent, directories, files in os.walk(root):
        for entry in sorted([*directories, *files]):
            path = Path(parent, entry)
            name = path.relative_to(root).as_posix()
            if path.is_symlink():
                yield f"{name}: is a symbolic link, which is not allowed"
            elif entry in files and name not in listed:
                yield f"{name}: is not listed"
            elif entry in files and not path.is_file():
                yield f"{name}: is not a regular file"


def example_body(directory: Path, card: ModelCard) -> tuple[bytes, int | None]:
    """Return the body of the example request, and the length of its JSON header.

    The length is the value of the header Inference-Header-Content-Length. It is None if the body is
    JSON.

    Raises:
        CardError: If the example is in a file that cannot be read or is too short.
    """
    if not card.example_file:
        return msgspec.json.encode(card.example), None
    path = directory / card.example_file
    try:
        body = path.read_bytes()
    except OSError as error:
        raise CardError(
            f"{path}: cannot read the example ({error.strerror}). Restore the packaged files."
        ) from error
    return body, example_header_length(card, len(body))


def smallest_request_bytes(card: ModelCard) -> int:
    """Return the size of the tensors of one row, or of the example of a model without rows.

    It is their size as binary tensor data, in bytes. A body also has a JSON header.
    """
    total = 0
    for entry in card.example.get("inputs", ()):
        shape, data = entry.get("shape", ()), entry.get("data")
        if data is None:
            size = int(entry.get("parameters", {}).get("binary_data_size", 0))
        elif size := DATATYPES[entry["datatype"]].size if entry["datatype"] in DATATYPES else 0:
            size *= len(data)
        else:
            size = sum(4 + len(str(text).encode()) for text in data)
        rows = shape[0] if card.has_rows and shape else 1
        total += size // max(1, rows)
    return total


def example_header_length(card: ModelCard, body_length: int) -> int:
    """Return the length of the JSON header of the example file, which has `body_length` bytes.

    Raises:
        CardError: If the file is shorter than the tensors in it.
    """
    try:
        sizes = [int(entry["parameters"]["binary_data_size"]) for entry in card.example["inputs"]]
    except (KeyError, TypeError, ValueError) as error:
        raise CardError(
            f"{CARD_FILE}: example: every input needs parameters.binary_data_size, because"
            " example_file is set. Package the version again."
        ) from error
    length = body_length - sum(sizes)
    if length <= 0:
        raise CardError(
            f"{card.example_file}: the file has {body_length} bytes, fewer than its tensors."
            " Package the version again."
        )
    return length
