"""Runs the versions of a model whose traffic changes on the same rows, before a deployment.

The versions run in this process on one CPU thread, with their pre- and post-processing, as
`berth package` runs them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from berth.operations.prediction_diff import (
    PredictionDiff,
    choose_answers,
    compare_predictions,
    measure_quality,
)
from berth.packaging import runtime
from berth.packaging.captured_rows import SUFFIX, read_captured_rows
from berth.packaging.errors import PackageError
from berth.packaging.processing import read_processing, wrap_run
from berth.packaging.rows import Array, read_rows
from berth.spec import HostingSpec, version_directory
from berth_protocol.model_card import MODEL_FILE, CardError, ModelCard, read_card, verify_files

# Bounds the memory that the predictions of one run need.
_BATCH_ROWS = 256


@dataclass(frozen=True, kw_only=True)
class _Pair:
    model: str
    before: str
    after: str


def list_pairs(before: HostingSpec | None, after: HostingSpec) -> list[tuple[str, str, str]]:
    """Return model, earlier version and later version of each comparison.

    The earlier version is the one with most of the deployed traffic. A later version is each one
    that receives more requests than now, also as a shadow.
    """
    return [(p.model, p.before, p.after) for p in _find_pairs(before, after)]


def _find_pairs(before: HostingSpec | None, after: HostingSpec) -> Iterator[_Pair]:
    for model, entry in sorted(after.models.items()):
        deployed = before.models.get(model) if before else None
        if deployed is None or not deployed.traffic:
            continue
        main = max(sorted(deployed.traffic), key=lambda version: deployed.traffic[version])
        for version in sorted(entry.versions):
            now = deployed.traffic.get(version, 0)
            gains = entry.traffic.get(version, 0) > now
            is_new_shadow = version == entry.shadow and version != deployed.shadow
            if version != main and (gains or is_new_shadow):
                yield _Pair(model=model, before=main, after=version)


def compare_versions(
    root: Path,
    before: HostingSpec | None,
    after: HostingSpec,
    rows: Mapping[str, Path],
) -> list[PredictionDiff]:
    """Return the comparison of each pair of versions.

    Args:
        root: Directory of the project.
        rows: Model -> file with rows: `.npy`, `.npz`, or captured requests in `.jsonl`. An array in
            `.npz` with the name of an output contains the correct answers. Without a file, the rows
            are those of the example in the card of the earlier version.
    """
    return [_compare(root, before, after, pair, rows) for pair in _find_pairs(before, after)]


def _compare(
    root: Path,
    before: HostingSpec | None,
    after: HostingSpec,
    pair: _Pair,
    rows: Mapping[str, Path],
) -> PredictionDiff:
    diff = PredictionDiff(model=pair.model, before=pair.before, after=pair.after)
    assert before is not None, "there are no pairs without a deployed specification"
    try:
        one = _load_version(root, before, pair.model, pair.before)
        other = _load_version(root, after, pair.model, pair.after)
        metrics: dict[str, tuple[float | None, float | None]] = {
            f"{name} in the card": (one.card.metrics.get(name), other.card.metrics.get(name))
            for name in sorted({*one.card.metrics, *other.card.metrics})
        }
        diff = replace(diff, metrics=metrics)
        file = rows.get(pair.model)
        feeds, truth = _read_example(one.card) if file is None else _read_file(one.card, file)
        ours, theirs = one.run(feeds), other.run(feeds)
        result = compare_predictions(ours, theirs)
        qualities = [measure_quality(choose_answers(each), truth) for each in (ours, theirs)]
    except (PackageError, CardError, ValueError, OSError) as error:
        return replace(diff, problem=str(error))
    for name in qualities[0]:
        metrics[name] = (qualities[0][name], qualities[1].get(name))
    return replace(
        diff,
        source="the example in the card" if file is None else file.name,
        rows=result.rows,
        changed=result.changed,
        outputs=result.outputs,
        most_changed=result.most_changed,
        metrics=metrics,
    )


@dataclass(frozen=True, kw_only=True)
class _Version:
    """A version that can be run."""

    card: ModelCard
    directory: Path

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Return the predictions for all rows."""
        session = runtime.load_session(self.directory / MODEL_FILE, operators=self.card.operators)
        inputs, _ = runtime.read_signature(session, list(feeds))
        if self.card.processing:
            processing = read_processing(self.directory / self.card.processing)
            run = wrap_run(processing, session, inputs, self.card.outputs)
        else:

            def run(feeds: dict[str, Array]) -> dict[str, Array]:
                return runtime.run_model(session, feeds)

        tensors = {tensor.name: tensor for tensor in self.card.inputs}
        if unknown := sorted(feeds.keys() - tensors.keys()):
            names = ", ".join([*tensors, *(tensor.name for tensor in self.card.outputs)])
            raise PackageError(
                f"rows: version {self.card.version} of {self.card.name} has no input or output "
                f"'{unknown[0]}'; it has {names}"
            )
        cast = {name: runtime.cast_to_input(tensors[name], feeds[name]) for name in feeds}
        count = len(next(iter(cast.values())))
        parts = [
            run({name: values[start : start + _BATCH_ROWS] for name, values in cast.items()})
            for start in range(0, count, _BATCH_ROWS)
        ]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _load_version(root: Path, spec: HostingSpec, model: str, version: str) -> _Version:
    entry = spec.models[model].versions[version]
    if entry.container is not None:
        raise PackageError(f"version {version} is a container of its own, which does not run here")
    directory = version_directory(root, model, version, entry.path)
    card = read_card(directory)
    verify_files(directory, card)
    if card.has_rows is False:
        raise PackageError(f"version {version} has no independent rows: {card.no_rows_reason}")
    return _Version(card=card, directory=directory)


def _read_example(card: ModelCard) -> tuple[dict[str, Array], dict[str, Array]]:
    if card.example_file:
        raise PackageError("the example is in a file of its own; pass rows with --rows")
    types: dict[str, Any] = {**runtime.NUMPY_TYPES, "BYTES": object}
    feeds = {
        entry["name"]: np.array(entry["data"], types[entry["datatype"]]).reshape(entry["shape"])
        for entry in card.example["inputs"]
    }
    return feeds, {}


def _read_file(card: ModelCard, file: Path) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return the rows by input, and the correct answers by output."""
    if file.suffix == SUFFIX:
        return read_captured_rows(file, card.inputs), {}
    rows = read_rows(file)
    if isinstance(rows, np.ndarray):
        if len(card.inputs) != 1:
            names = ", ".join(f"{tensor.name}=..." for tensor in card.inputs)
            raise PackageError(f"{file}: pass rows by name: numpy.savez('rows.npz', {names})")
        return {card.inputs[0].name: rows}, {}
    assert isinstance(rows, dict), "a file contains one array, or arrays by name"
    inputs = {tensor.name for tensor in card.inputs}
    outputs = {tensor.name for tensor in card.outputs} - inputs
    feeds = {name: values for name, values in rows.items() if name not in outputs}
    truth = {name: values for name, values in rows.items() if name in outputs}
    counts = {name: len(np.atleast_1d(values)) for name, values in rows.items()}
    if not feeds or len(set(counts.values())) != 1:
        raise PackageError(f"{file}: each array needs the same number of rows, got {counts}")
    return feeds, truth


def match_rows(files: Sequence[str], models: Sequence[str]) -> dict[str, Path]:
    """Return the file with rows of each model.

    Args:
        files: `MODEL=FILE`, or `FILE` for all models.

    Raises:
        PackageError: If the model is not known, or a file does not exist.
    """
    matched: dict[str, Path] = {}
    for text in files:
        model, separator, name = text.partition("=")
        if separator and model not in models:
            raise PackageError(
                f"--rows {text}: model '{model}' is not in the configuration, which has "
                f"{', '.join(models)}. Use MODEL=FILE or FILE."
            )
        path = Path(name if separator else text)
        if not path.is_file():
            raise PackageError(
                f"--rows {text}: {path} is not a file. Use a .npy, .npz or .jsonl file."
            )
        matched |= dict.fromkeys([model] if separator else models, path)
    return matched
