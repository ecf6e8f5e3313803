"""Packages a trained model as a version that Berth can host."""

import shutil
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import msgspec
from msgspec.structs import replace

from berth.packaging import compare, runtime
from berth.packaging.card_format import format_card
from berth.packaging.card_metrics import check_metrics
from berth.packaging.conversion import Conversion
from berth.packaging.errors import PackageError
from berth.packaging.example import Example, build_example, select_example_rows
from berth.packaging.formats import FORMATS, TABLE_FORMATS, detect_framework
from berth.packaging.formats.hugging_face import find_example_texts
from berth.packaging.mlflow_model import MlflowModel
from berth.packaging.mlflow_signature import check_signature
from berth.packaging.names import check_name, check_version
from berth.packaging.processing import (
    ClientRows,
    Run,
    find_dims,
    prepare_rows,
    read_processing,
    wrap_run,
)
from berth.packaging.publish import create_staging_directory, publish
from berth.packaging.requirements import missing_requirement
from berth.packaging.rows import Array, Rows, read_rows
from berth.packaging.source import ModelSource, resolve_source
from berth.packaging.tables import Table
from berth.packaging.training_statistics import (
    count_reference,
    describe_statistics,
    write_statistics,
)
from berth_protocol.model_card import (
    CARD_FILE,
    EXAMPLE_FILE,
    MODEL_FILE,
    PROCESSING_FILE,
    SCHEMA,
    ModelCard,
    Source,
    Tensor,
    digest,
    file_sha256,
    read_card,
)
from berth_protocol.row_independence import Dims, explain_row_dependence
from berth_protocol.training_statistics import STATISTICS_FILE
from berth_serving.processing import Processing

_RESERVED = (MODEL_FILE, CARD_FILE, EXAMPLE_FILE, PROCESSING_FILE, STATISTICS_FILE)

__all__ = ["PackageError", "PackagedModel", "package_model"]


@dataclass(frozen=True)
class PackagedModel:
    """The result of packaging a model.

    Attributes:
        path: Directory of the version.
        digest: Digest of the version.
        card: Model card.
        rows: Number of real rows that were compared. None if the model has no rows.
        differences: Difference of each output from the framework's predictions.
        changed: False if exactly the same version already existed.
        notes: Messages about what was not packaged.
    """

    path: Path
    digest: str
    card: ModelCard
    rows: int | None
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
    has_rows: bool | None = None,
    processing: Path | None = None,
    reference_data: object = None,
    mlflow: MlflowModel | None = None,
) -> PackagedModel:
    """Package a model version as `into/<name>/<version>/`.

    The function converts the model to ONNX, checks it with ONNX's checker and onnxruntime, and
    compares its predictions for real rows with the framework's own. Labels must be equal, numbers
    within `compare.TOLERANCE`. The same input gives the same bytes. On the command line:

        berth package model.onnx --name wine --version 1 --rows rows.npy
        berth package train.py:build --name digits --version 2
        berth package my_team.models:build --name digits --version 3 --metric accuracy=0.98

    Args:
        source: The path of a file with a suffix in `FILES` or of a Hugging Face directory;
            `path/to/train.py:function` or `module:function`, which is called without arguments and
            returns (model, rows) or (model, rows, metrics); or a model object of a framework in
            `FORMATS`.
        name: Name of the model: a DNS label.
        version: Version, as in the stack's configuration.
        into: Directory of the models. Created if it does not exist.
        rows: Real rows, ideally held out: an array, a list of texts, arrays by input name, or the
            path of a .npy or .npz file. For an ONNX model, arrays by output name are the
            predictions of the original framework. They override the rows that a function returns.
        framework: A key of `FORMATS`. Defaults to the framework of the model.
        description: One or two sentences for readers of the card.
        metrics: Numbers measured on held-out data. They override those that a function returns.
        dataset: Data that the model was trained on.
        trained_by: Script that trained the model. Defaults to `source` if it refers to a function.
        has_rows: Whether the first dimension of every input and output counts rows that are
            independent of each other. Defaults to what running `rows` together and separately
            shows. True is checked in the same way, except that an output may have a free dimension
            that no input has.
        processing: Python file with pre- and post-processing around the model; see
            `berth_serving.processing`. `rows` are then what clients send, by the names of the
            declared inputs. Rows by the name of a declared output are the results that clients
            expect, which are compared.
        reference_data: Rows of the training data, from which the version gets training statistics:
            the path of a .csv, .parquet, .npy or .npz file, a DataFrame, an array, or arrays by
            input name. None records no statistics.
        mlflow: The model of MLflow that `source` is the file of. Its signature must fit.

    Raises:
        PackageError: If the model is rejected, or if the version exists and differs. Nothing
            changes.
    """
    check_name(name)
    check_version(version)
    resolved = resolve_source(source)
    if isinstance(source, str) and not isinstance(resolved.model, Path):
        trained_by = trained_by or source
    code = None if processing is None else read_processing(processing)
    given = _read_rows(resolved, rows, framework)
    clients = ClientRows(None, {}, given) if code is None else prepare_rows(code, given)
    conversion = _convert(resolved.model, clients.model, framework)
    card_source = Source(
        framework=conversion.framework,
        framework_version=conversion.framework_version,
        converter=conversion.converter,
        dataset=dataset,
        trained_by=trained_by,
        mlflow=None if mlflow is None else mlflow.origin,
    )
    with create_staging_directory(into) as staging:
        _write_model(conversion, staging)
        if processing is not None:
            shutil.copyfile(processing, staging / PROCESSING_FILE)
        checked = _check(conversion, staging, has_rows, code, clients)
        if mlflow is not None:
            check_signature(mlflow.inputs, checked.inputs)
        if checked.example.body is not None:
            (staging / EXAMPLE_FILE).write_bytes(checked.example.body)
        statistics = None
        if reference_data is not None:
            statistics = count_reference(
                reference_data, checked.run, checked.inputs, checked.outputs, checked.no_rows_reason
            )
            write_statistics(statistics, staging / STATISTICS_FILE)
        card = ModelCard(
            schema=SCHEMA,
            name=name,
            version=version,
            description=description,
            files={
                file: file_sha256(staging / file)
                for file in (
                    MODEL_FILE,
                    *sorted(conversion.data_files),
                    *([] if code is None else [PROCESSING_FILE]),
                    *([EXAMPLE_FILE] if checked.example.body is not None else []),
                    *([STATISTICS_FILE] if statistics is not None else []),
                )
            },
            inputs=checked.inputs,
            outputs=checked.outputs,
            processing="" if code is None else PROCESSING_FILE,
            operators=checked.operators,
            has_rows=not checked.no_rows_reason,
            no_rows_reason=checked.no_rows_reason,
            example=checked.example.request,
            example_file=EXAMPLE_FILE if checked.example.body is not None else "",
            statistics="" if statistics is None else STATISTICS_FILE,
            source=card_source,
            metrics=check_metrics(resolved.metrics if metrics is None else metrics),
        )
        _write_card(card, staging)
        new_digest = digest(staging)
        target = into / name / version
        changed = publish(staging, target)
    return PackagedModel(
        path=target,
        digest=new_digest,
        card=card,
        rows=checked.rows,
        differences=checked.differences,
        changed=changed,
        notes=(*conversion.notes, *checked.notes, *describe_statistics(statistics)),
    )


@dataclass(frozen=True)
class _CheckResult:
    inputs: list[Tensor]
    outputs: list[Tensor]
    operators: dict[str, str]
    no_rows_reason: str
    example: Example
    rows: int | None
    differences: dict[str, compare.Difference]
    run: Run

    @property
    def notes(self) -> tuple[str, ...]:
        """Messages about what was found out about the model."""
        if not self.no_rows_reason:
            return ()
        return (
            f"The model has no independent rows: {self.no_rows_reason}. Requests to it are not "
            "limited by max_batch and never share a run.",
        )


def _read_rows(source: ModelSource, rows: object, framework: str | None) -> Rows | Table:
    """Return the rows that the caller passed, that the source has, or that Berth has for it."""
    rows = source.rows if rows is None else rows
    framework = framework or detect_framework(source.model)
    if rows is None and framework == "transformers" and isinstance(source.model, Path):
        rows = find_example_texts(source.model)
    return read_rows(rows)


def _convert(model: object, model_rows: Rows | Table, framework: str | None) -> Conversion:
    framework = framework or detect_framework(model)
    if framework not in FORMATS:
        raise PackageError(
            f"Unknown framework {framework!r}. Known frameworks: {', '.join(FORMATS)}."
        )
    if isinstance(model_rows, Table) and framework not in TABLE_FORMATS:
        model_rows = model_rows.arrays()
    try:
        # Frameworks print messages. Only the command's result goes to stdout.
        with redirect_stdout(sys.stderr):
            return FORMATS[framework](model, model_rows)
    except ImportError as error:
        raise missing_requirement(framework, error) from error


def _write_model(conversion: Conversion, staging: Path) -> None:
    if isinstance(conversion.model, Path):
        shutil.copyfile(conversion.model, staging / MODEL_FILE)
    else:
        (staging / MODEL_FILE).write_bytes(conversion.model)
    for location, path in conversion.data_files.items():
        parts = Path(location).parts
        if Path(location).is_absolute() or ".." in parts:
            raise PackageError(
                f"{location}: the external data is outside the model's directory. A version "
                "contains all of its files, so save the model with its data in the same directory."
            )
        if parts[:1] in [(name,) for name in _RESERVED]:
            raise PackageError(
                f"{location}: {parts[0]} is a reserved name. Rename the external data."
            )
        copy = staging / location
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _check(
    conversion: Conversion,
    staging: Path,
    has_rows: bool | None,
    processing: Processing | None,
    clients: ClientRows,
) -> _CheckResult:
    """Check the model, compare its predictions, find out if it has rows, and build its example."""
    model = staging / MODEL_FILE
    runtime.check_model(model)
    operators = runtime.find_operators(model)
    session = runtime.load_session(model, operators=operators)
    inputs, outputs = runtime.read_signature(session, conversion.rows)
    inputs = [
        replace(
            tensor,
            max_bytes=conversion.max_bytes.get(tensor.name, 0),
            categories=conversion.categories.get(tensor.name, []),
        )
        for tensor in inputs
    ]
    feeds = {
        tensor.name: runtime.cast_to_input(tensor, conversion.rows[tensor.name])
        for tensor in inputs
        if tensor.name in conversion.rows or not tensor.optional
    }
    predictions = runtime.run_model(session, feeds)
    expected = dict(conversion.predictions)
    if expected.keys() != predictions.keys():
        unoptimized = runtime.load_session(model, optimize=False, operators=operators)
        expected = runtime.run_model(unoptimized, feeds) | expected
    differences = compare.compare(
        predictions, expected, unoptimized=expected.keys() - conversion.predictions.keys()
    )
    input_dims = runtime.read_dims(session.get_inputs())
    output_dims = runtime.read_dims(session.get_outputs())
    run: Run = partial(runtime.run_model, session)
    if processing is not None:
        model_inputs, inputs = inputs, list(processing.inputs or inputs)
        outputs = list(processing.outputs or outputs)
        run = wrap_run(processing, session, model_inputs, outputs)
        input_dims = input_dims if processing.inputs is None else find_dims(inputs)
        output_dims = output_dims if processing.outputs is None else find_dims(outputs)
        feeds = feeds if clients.inputs is None else clients.inputs
        differences |= compare.compare(
            run(feeds), clients.expected, sides=compare.SERVED_AND_EXPECTED
        )
    required = {tensor.name: feeds[tensor.name] for tensor in inputs if not tensor.optional}
    reason = _find_no_rows_reason(run, required, input_dims, output_dims, has_rows)
    if reason:
        selected, rows = feeds, None
    else:
        selected, rows = select_example_rows(required), len(next(iter(required.values())))
    run(selected)
    return _CheckResult(
        inputs=inputs,
        outputs=outputs,
        operators=operators,
        no_rows_reason=reason,
        example=build_example(inputs, selected),
        rows=rows,
        differences=differences,
        run=run,
    )


def _find_no_rows_reason(
    run: Run,
    feeds: dict[str, Array],
    inputs: Mapping[str, Dims],
    outputs: Mapping[str, Dims],
    has_rows: bool | None,
) -> str:
    """Return why the model has no independent rows, or "" if it has.

    Raises:
        PackageError: If `has_rows` is True but the rows are not independent.
    """
    if has_rows is False:
        return "it was packaged without rows"
    reason = explain_row_dependence(
        run,
        feeds,
        inputs,
        outputs,
        trust_sizes=has_rows is True,
    )
    if reason and has_rows:
        raise PackageError(
            f"The model's rows are not independent: {reason}. Package it without --has-rows."
        )
    return reason


def _write_card(card: ModelCard, staging: Path) -> None:
    """Write the card, and check that the serving program would read the same card."""
    (staging / CARD_FILE).write_bytes(format_card(card))
    if msgspec.to_builtins(read_card(staging)) != msgspec.to_builtins(card):
        raise PackageError(
            f"{CARD_FILE}: reading the card gives a different result. Report this defect."
        )
