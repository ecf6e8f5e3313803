"""`berth package`: a trained model becomes a version that Berth can host."""

import math
import shutil
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import msgspec

from berth.packaging import compare, runtime
from berth.packaging.card_text import card_text
from berth.packaging.converted import Converted
from berth.packaging.errors import PackageError
from berth.packaging.example import example_feeds, request
from berth.packaging.formats import FORMATS, framework_of
from berth.packaging.missing import missing
from berth.packaging.names import check_name, check_version
from berth.packaging.publish import publish, staging
from berth.packaging.rows import Array, read_rows
from berth.packaging.source import find_source
from berth_protocol.model_card import (
    CARD_FILE,
    MODEL_FILE,
    SCHEMA,
    ModelCard,
    Source,
    Tensor,
    digest,
    file_sha256,
    read_card,
)

__all__ = ["PackageError", "PackagedModel", "package_model"]


@dataclass(frozen=True)
class PackagedModel:
    """What was packaged.

    `path` is the version's directory and `digest` its identity. `rows` is how many real rows were
    compared, `differences` how far each output was from the framework's own. `changed` is False
    when the version was there already, byte for byte. `notes` say what was left out.
    """

    path: Path
    digest: str
    card: ModelCard
    rows: int
    differences: dict[str, compare.Difference]
    changed: bool
    notes: tuple[str, ...]


def package_model(
    source: object,
    *,
    name: str,
    version: str,
    into: Path,
    rows: object = None,
    framework: str | None = None,
    description: str = "",
    metrics: Mapping[str, float] | None = None,
    dataset: str = "",
    trained_by: str = "",
) -> PackagedModel:
    """Package one model version as `into/<name>/<version>/`.

    The model is converted to ONNX, passed by ONNX's checker and by onnxruntime, and its answers
    to real rows are compared with the framework's own: labels must be equal, numbers as near as
    `compare.TOLERANCE` says. The same input gives the same bytes. On the command line:

        berth package model.onnx --name wine --version 1 --rows rows.npy
        berth package train.py:build --name digits --version 2
        berth package my_team.models:build --name digits --version 3 --metric accuracy=0.98

    Args:
        source: a path of a file that ends as one of `FILES`, or of a folder of Hugging Face's;
            `path/to/train.py:function` or `module:function`, called without arguments, which
            returns (model, rows) or (model, rows, metrics); or the model itself, of a framework in
            `FORMATS`.
        name: the model's name, a DNS label.
        version: the version, as it stands in the stack's configuration.
        into: the directory of the models; made when it is not there.
        rows: real rows, best held-out ones: an array, a list of texts, arrays by input name, or
            the path of a .npy or .npz file of them. For an ONNX model, arrays under the outputs'
            names are the answers that the original framework gave. They win over those that a
            function returned.
        framework: a key of `FORMATS`; told from the model when None.
        description: one or two sentences for the reader of the card.
        metrics: numbers measured on held-out data; they win over those that a function returned.
        dataset: the data that the model was trained on.
        trained_by: the script that trained it; the source, where that names a function.

    Raises:
        PackageError: the model was refused, or the version exists and differs. Nothing changed.
    """
    check_name(name)
    check_version(version)
    found = find_source(source)
    if isinstance(source, str) and not isinstance(found.model, Path):
        trained_by = trained_by or source
    converted = _convert(found.model, found.rows if rows is None else rows, framework)
    about = Source(
        framework=converted.framework,
        framework_version=converted.framework_version,
        converter=converted.converter,
        dataset=dataset,
        trained_by=trained_by,
    )
    with staging(into) as stage:
        _write_model(converted, stage)
        checked = _check(converted, stage)
        card = ModelCard(
            schema=SCHEMA,
            name=name,
            version=version,
            description=description,
            files={
                file: file_sha256(stage / file)
                for file in (MODEL_FILE, *sorted(converted.data_files))
            },
            inputs=checked.inputs,
            outputs=checked.outputs,
            example=checked.example,
            source=about,
            metrics=_checked_metrics(found.metrics if metrics is None else metrics),
        )
        _write_card(card, stage)
        made = digest(stage)
        target = into / name / version
        changed = publish(stage, target)
    return PackagedModel(
        path=target,
        digest=made,
        card=card,
        rows=checked.rows,
        differences=checked.differences,
        changed=changed,
        notes=converted.notes,
    )


@dataclass(frozen=True)
class _Checked:
    inputs: list[Tensor]
    outputs: list[Tensor]
    example: dict[str, object]
    rows: int
    differences: dict[str, compare.Difference]


def _convert(model: object, rows: object, framework: str | None) -> Converted:
    framework = framework or framework_of(model)
    if framework not in FORMATS:
        raise PackageError(f"framework {framework!r}: is none of {', '.join(FORMATS)}")
    given = read_rows(rows)
    try:
        with redirect_stdout(sys.stderr):  # frameworks print; stdout is the command's answer
            return FORMATS[framework](model, given)
    except ImportError as error:
        raise missing(framework, error) from error


def _write_model(converted: Converted, stage: Path) -> None:
    (stage / MODEL_FILE).write_bytes(converted.model)
    for location, path in converted.data_files.items():
        parts = Path(location).parts
        if Path(location).is_absolute() or ".." in parts:
            raise PackageError(
                f"{location}: is external data outside the model's directory; a version holds "
                "all of its files, so save the model with its data beside or below it"
            )
        if parts[:1] in [(MODEL_FILE,), (CARD_FILE,)]:
            raise PackageError(f"{location}: external data must not be called {parts[0]}")
        copy = stage / location
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _check(converted: Converted, stage: Path) -> _Checked:
    """Pass the model by the checker and onnxruntime, compare its answers, make its example."""
    model = stage / MODEL_FILE
    runtime.check(model)
    session = runtime.load(model)
    inputs, outputs = runtime.signature(session)
    feeds = {
        tensor.name: runtime.as_input(tensor, converted.rows[tensor.name]) for tensor in inputs
    }
    answers = runtime.run(session, feeds)
    expected = dict(converted.answers)
    if expected.keys() != answers.keys():
        expected = runtime.run(runtime.load(model, optimised=False), feeds) | expected
    differences = compare.compare(answers, expected)
    few = example_feeds(inputs, feeds)
    runtime.run(session, few)
    return _Checked(
        inputs=inputs,
        outputs=outputs,
        example=request(inputs, few),
        rows=_row_count(feeds),
        differences=differences,
    )


def _row_count(feeds: dict[str, Array]) -> int:
    return max((len(array) for array in feeds.values() if array.ndim), default=1)


def _checked_metrics(metrics: Mapping[str, float]) -> dict[str, float]:
    checked: dict[str, float] = {}
    for key, value in metrics.items():
        try:
            checked[str(key)] = float(value)
        except (TypeError, ValueError):
            raise PackageError(f"metric {key!r}: is {value!r}; a metric is a number") from None
        if not key or not math.isfinite(checked[str(key)]):
            raise PackageError(f"metric {key!r}: is {value}; a metric is a named, finite number")
    return checked


def _write_card(card: ModelCard, stage: Path) -> None:
    """Write the card, and read it back: what the serving app reads must be what was meant."""
    (stage / CARD_FILE).write_bytes(card_text(card))
    if msgspec.to_builtins(read_card(stage)) != msgspec.to_builtins(card):
        raise PackageError(f"{CARD_FILE}: does not read back as written; please report this")
