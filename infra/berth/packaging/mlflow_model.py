"""Models in MLflow's format: a directory with a file `MLmodel`, or a URI of MLflow's registry.

https://mlflow.org/docs/latest/ml/model/. Of a model's flavors, Berth uses the first that is a file
without a pickle: loading a pickle runs any code that its author put there.
"""

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from berth.packaging.errors import PackageError
from berth.packaging.formats import FILES
from berth.packaging.pickles import reject_pickle
from berth.packaging.requirements import missing_requirement
from berth_protocol.model_card import MlflowOrigin

MODEL_FILE = "MLmodel"
_SCHEMES = ("models:/", "runs:/")
_REGISTERED = re.compile(r"models:/([^/@]+)/(\d+)")
_MAX_BYTES = 1 << 20
_MAX_EXAMPLE_BYTES = 64 << 20
# Flavor -> the keys of its entry that can name the file with the model.
_FLAVORS = {
    "onnx": ("data",),
    "xgboost": ("data",),
    "lightgbm": ("data",),
    "pytorch": ("exported_model", "model_data"),
    "sklearn": ("pickled_model",),
}
# How to log a model of a flavor so that its file is not a pickle.
_ADVICE = {
    "xgboost": "log it with model_format='ubj'",
    "lightgbm": "log the estimator's booster_ instead of the estimator",
    "pytorch": "log it with serialization_format='pt2' and an input_example",
    "sklearn": "package a function that returns the estimator and rows "
    "('berth package train.py:build ...')",
}
# The suffix that Berth's converter of each flavor expects.
_SUFFIXES = {"onnx": ".onnx", "lightgbm": ".txt", "pytorch": ".pt2"}


@dataclass(frozen=True)
class MlflowModel:
    """A model of MLflow as files.

    Attributes:
        file: File with the model, which contains no pickle.
        rows: Rows of the input example, by name or as one array. None if there is none.
        inputs: Inputs of the signature: name, or None -> description in MLflow's format.
        origin: Where the model comes from.
    """

    file: Path
    rows: object
    inputs: list[dict[str, Any]]
    origin: MlflowOrigin


def is_mlflow_source(source: object) -> bool:
    """Return whether `source` is a directory of MLflow or a URI of its registry."""
    text = str(source)
    return text.startswith(_SCHEMES) or Path(text, MODEL_FILE).is_file()


@contextmanager
def open_mlflow(source: str | Path) -> Iterator[MlflowModel]:
    """Provide a model within the block. A URI is downloaded to a temporary directory.

    Raises:
        PackageError: If the model cannot be downloaded, is not in MLflow's format, or has no file
            without a pickle.
    """
    with tempfile.TemporaryDirectory(prefix="berth-mlflow-") as directory:
        temporary = Path(directory)
        is_uri = str(source).startswith(_SCHEMES)
        root = _download(str(source), temporary / "model") if is_uri else Path(source)
        document = _read_document(root)
        yield MlflowModel(
            file=_find_file(str(source), root.resolve(), document, temporary),
            rows=_read_example(root, document),
            inputs=_read_inputs(root, document),
            origin=_read_origin(str(source) if is_uri else "", root, document),
        )


def _download(uri: str, target: Path) -> Path:
    """Download the artifacts of a model from the server that MLFLOW_TRACKING_URI names."""
    try:
        import mlflow
    except ImportError as error:
        raise PackageError(
            f"{uri}: MLflow is not installed ({error}). Run pip install 'berth[mlflow]', or "
            "download the model with MLflow and package its directory."
        ) from error
    target.mkdir()
    try:
        with redirect_stdout(sys.stderr):
            path = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=str(target))
    except Exception as error:  # MLflow and its stores raise many unrelated types.
        server = "is set" if os.environ.get("MLFLOW_TRACKING_URI") else "is not set"
        raise PackageError(
            f"{uri}: MLflow cannot download the model ({type(error).__name__}: {error}). "
            f"MLFLOW_TRACKING_URI {server}; check the name, the version and the server."
        ) from error
    return Path(path)


def _read_document(root: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(_read_text(root / MODEL_FILE, _MAX_BYTES))
    except yaml.YAMLError as error:
        raise PackageError(f"{root / MODEL_FILE}: not YAML ({error})") from error
    if not isinstance(document, dict) or not isinstance(document.get("flavors"), dict):
        raise PackageError(f"{root / MODEL_FILE}: not a model of MLflow; it has no flavors")
    return document


def _read_text(path: Path, limit: int) -> str:
    try:
        with path.open(encoding="utf-8") as file:
            text = file.read(limit + 1)
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise PackageError(f"{path}: cannot read the file ({reason})") from error
    if len(text) > limit:
        raise PackageError(f"{path}: is longer than {limit} characters")
    return text


def _find_file(source: str, root: Path, document: Mapping[str, Any], temporary: Path) -> Path:
    """Return the file of the first flavor that Berth can convert.

    Args:
        source: What the user named, for the message.
    """
    reasons = []
    for flavor, keys in _FLAVORS.items():
        entry = document["flavors"].get(flavor)
        if not isinstance(entry, dict):
            continue
        name = next((entry[key] for key in keys if isinstance(entry.get(key), str)), None)
        file = None if name is None else (root / name).resolve()
        if file is None or not file.is_relative_to(root):
            reasons.append(f"{flavor} names no file of the model")
            continue
        if flavor == "pytorch" and file.is_dir():
            file = next(iter(sorted(file.glob("*.pt2"))), file / "model.pth")
        if not file.is_file():
            reasons.append(f"{flavor}: {name} is missing")
            continue
        if file.suffix == ".skops":
            reasons.append(f"{flavor}: {file.name} is in the format of skops")
            continue
        try:
            if file.suffix != ".pt2":  # Its own converter checks the members of the archive.
                reject_pickle(file)
        except PackageError:
            reasons.append(f"{flavor}: {file.name} is a pickle")
            continue
        return _with_suffix(flavor, file, temporary)
    found = f" ({'; '.join(reasons)})" if reasons else ""
    advice = [text for flavor, text in _ADVICE.items() if flavor in document["flavors"]]
    raise PackageError(
        f"{source}: the model has no file that Berth can package{found}; its flavors are "
        f"{', '.join(document['flavors'])}. Berth loads no pickle, because that runs any code that "
        "its author put there, and no skops file. Nothing was packaged. Log the model with "
        f"mlflow.onnx too{''.join(f', or {text}' for text in advice)}."
    )


def _with_suffix(flavor: str, file: Path, temporary: Path) -> Path:
    """Return the file under a name whose suffix Berth's converters know."""
    suffix = _SUFFIXES.get(flavor)
    if suffix is None:
        with file.open("rb") as stream:
            # An object in UBJSON begins with the type of its keys instead of a quotation mark.
            suffix = ".json" if stream.read(64).lstrip(b"{ \r\n\t")[:1] == b'"' else ".ubj"
    if file.suffix == suffix:
        return file
    assert suffix in FILES, "each suffix has a converter"
    return Path(shutil.copyfile(file, temporary / f"model{suffix}"))


def _read_example(root: Path, document: Mapping[str, Any]) -> object:
    """Return the rows of the input example that was logged with the model, or None."""
    info = document.get("saved_input_example_info")
    name = info.get("artifact_path") if isinstance(info, dict) else None
    path = None if not isinstance(name, str) else (root / name).resolve()
    if path is None or path.suffix != ".json" or not path.is_relative_to(root.resolve()):
        return None
    try:
        example = json.loads(_read_text(path, _MAX_EXAMPLE_BYTES))
    except ValueError as error:
        raise PackageError(f"{path}: not JSON ({error})") from error
    if isinstance(example, dict) and "data" in example:
        try:
            return _read_columns(example)
        except ImportError as error:
            raise missing_requirement("sklearn", error) from error
    inputs = example.get("inputs", example) if isinstance(example, dict) else example
    if isinstance(inputs, dict):
        return {str(key): np.asarray(value) for key, value in inputs.items()}
    return np.asarray(inputs)


def _read_columns(example: Mapping[str, Any]) -> object:
    """Return a table in the format of pandas' `to_dict(orient="split")`, or one array of numbers.

    Numbers in one matrix are what the file of a model with one input takes.
    """
    import pandas as pd

    frame = pd.DataFrame(example["data"], columns=example.get("columns"))
    if all(kind.kind in "biuf" for kind in frame.dtypes):
        return frame.to_numpy()
    return frame


def _read_inputs(root: Path, document: Mapping[str, Any]) -> list[dict[str, Any]]:
    signature = document.get("signature")
    text = signature.get("inputs") if isinstance(signature, dict) else None
    if not isinstance(text, str):
        return []
    try:
        inputs = json.loads(text)
    except ValueError as error:
        raise PackageError(
            f"{root / MODEL_FILE}: signature.inputs is not JSON ({error})"
        ) from error
    return [entry for entry in inputs if isinstance(entry, dict)]


def _read_origin(uri: str, root: Path, document: Mapping[str, Any]) -> MlflowOrigin:
    name = version = ""
    if registered := _REGISTERED.fullmatch(uri):
        name, version = registered.groups()
    meta = root / "registered_model_meta"  # MLflow writes it when it downloads such a model.
    if meta.is_file():
        found = yaml.safe_load(_read_text(meta, _MAX_BYTES))
        if isinstance(found, dict):
            name = str(found.get("model_name", name))
            version = str(found.get("model_version", version))
    return MlflowOrigin(
        uri=uri,
        registered_model=name,
        registered_version=version,
        run_id=str(document.get("run_id") or ""),
        model_id=str(document.get("model_id") or ""),
    )
