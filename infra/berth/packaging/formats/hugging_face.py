"""Hugging Face: a transformers model, or a directory with its ONNX export or safetensors."""

import inspect
import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

from berth.packaging import bert
from berth.packaging.conversion import Conversion
from berth.packaging.errors import PackageError, first_line
from berth.packaging.formats import onnx, pytorch
from berth.packaging.pickles import reject_pickle
from berth.packaging.rows import Array, Rows
from berth.packaging.runtime import load_session, run_model
from berth.packaging.text.attach import (
    TEXT,
    Head,
    add_embedding,
    add_text,
    prove_tokenizer,
    tokenize,
)
from berth.packaging.text.folder import has_tokenizer, read_text_folder
from berth.packaging.text.labels import read_labels
from berth.packaging.text.sentences import read_sentence_modules

CONFIG = "config.json"

# The paths of an export by optimum or on the model hub.
_EXPORTS = ("model.onnx", "onnx/model.onnx")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")

# Files for the preprocessing of text and images. Clients do it unless the rows are text.
_PREPROCESSING = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.txt",
    "vocab.json",
    "merges.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tokenizer.model",
    "preprocessor_config.json",
)

# Settings that make from_pretrained run or load something other than the directory's weights.
_REJECTED_SETTINGS = {
    "auto_map": "the model requires its own code, which Berth never runs",
    "quantization_config": "the weights are quantized. Export the model to ONNX",
}


def convert(model: object, rows: Rows) -> Conversion:
    """Convert a `PreTrainedModel`, or a directory from `save_pretrained` or an ONNX export.

    If the rows are text, the version contains the tokenizer, and the pooling or labels that the
    directory describes. If they are token IDs or pixels, it contains the network and the pooling.

    An export is packaged unchanged. If the directory also contains weights and transformers is
    installed, the export is compared with transformers' predictions. Without an export, the model
    is converted as a PyTorch module in FP32, with a dynamic number of rows and tokens and without a
    key-value cache.

    Raises:
        PackageError: If the directory contains a pickle, code or settings that would run code, if
            weights are missing or damaged, if `pytorch.convert` rejects the model, or if its
            tokenizer cannot be packaged.
    """
    if not isinstance(model, Path):
        return _convert_model(model, rows)
    config = _read_config(model)
    texts = rows.get(TEXT) if isinstance(rows, dict) else rows
    if texts is not None and texts.dtype.kind == "O":
        expected = {k: v for k, v in rows.items() if k != TEXT} if isinstance(rows, dict) else {}
        return _convert_with_text(model, config, texts, expected)
    conversion, notes = _convert_network(model, config, rows)
    if modules := read_sentence_modules(model):
        states = _run_network(conversion, model) | conversion.predictions
        conversion = add_embedding(conversion, states, modules)
    return replace(conversion, notes=(*notes, *_build_notes(model)))


def find_example_texts(directory: Path) -> list[str] | None:
    """Return rows for a directory with a tokenizer, or None for other models."""
    return list(_EXAMPLE_TEXTS) if has_tokenizer(directory) else None


# Texts of different lengths: they show that rows do not depend on each other.
_EXAMPLE_TEXTS = (
    "The weather is lovely today.",
    "He drove to the stadium, which was already full when the teams arrived.",
    "Where is the station?",
)


def _convert_with_text(
    directory: Path, config: dict[str, Any], texts: Array, expected: dict[str, Array]
) -> Conversion:
    if texts.ndim != 1:
        raise PackageError(f"rows: the texts have shape {list(texts.shape)}. Pass a list of texts.")
    folder = read_text_folder(directory)
    head = Head(read_sentence_modules(directory), read_labels(config))
    tokens = tokenize(folder, list(texts))
    network, notes = _convert_network(directory, config, tokens, strict=False)
    states = _run_network(network, directory) | network.predictions
    conversion = add_text(network, folder, texts, states, head)
    count = prove_tokenizer(folder, list(texts))
    if unknown := [name for name in expected if name not in conversion.predictions]:
        raise PackageError(
            f"rows: {unknown[0]!r} is not an output of the model. Its outputs are "
            f"{', '.join(conversion.predictions)}."
        )
    notes += (
        f"The tokenizer is included: its token IDs equal Hugging Face's for {count} texts. Texts "
        f"are truncated to {folder.wordpiece.max_tokens} tokens.",
    )
    if head == Head() and "pooler_output" in states:
        notes += (
            "The directory has no modules.json of sentence-transformers. pooler_output is not an "
            "embedding of a sentence.",
        )
    return replace(conversion, predictions=conversion.predictions | expected, notes=notes)


def _run_network(network: Conversion, directory: Path) -> dict[str, Array]:
    """Return the outputs of the network as it was exported, without optimizations."""
    source: Path | bytes = _find_export(directory) or network.model
    return run_model(load_session(source, optimize=False), dict(network.rows))


def _keep(rows: Rows, names: Iterable[str]) -> Rows:
    allowed = set(names)
    return {k: v for k, v in rows.items() if k in allowed} if isinstance(rows, dict) else rows


def _find_export(directory: Path) -> Path | None:
    return next((directory / name for name in _EXPORTS if (directory / name).is_file()), None)


def _convert_network(
    model: Path, config: dict[str, Any], rows: Rows, *, strict: bool = True
) -> tuple[Conversion, tuple[str, ...]]:
    """Convert the network of a directory. Return it with messages for the user.

    Args:
        strict: If False, ignore rows for inputs that the network does not have.
    """
    export = _find_export(model)
    has_weights = any((model / name).is_file() for name in _WEIGHTS)
    if export is not None:
        reject_pickle(export)
        conversion = replace(
            onnx.convert(export, rows if strict else _keep(rows, onnx.read_inputs(export))),
            framework="transformers",
            framework_version=str(config.get("transformers_version", "")),
        )
        if not has_weights or conversion.predictions:
            return conversion, ()
        try:
            loaded = _load(model, config)
        except ImportError:
            return conversion, (
                f"{export.name} was not compared with the weights next to it, because transformers "
                "is not installed.",
            )
        return replace(conversion, predictions=_predict(loaded, conversion, export)), ()
    if has_weights:
        try:
            loaded = _load(model, config)
        except ImportError:
            if not isinstance(rows, dict) or not bert.is_supported(model, config):
                raise
            conversion = bert.convert(model, config, rows)
            return conversion, conversion.notes
        if not strict:
            rows = _keep(rows, inspect.signature(loaded.forward).parameters)
        return _convert_model(loaded, rows), ()
    raise PackageError(
        f"{model}: the directory has none of {', '.join((*_EXPORTS, *_WEIGHTS))}. Weights in a "
        ".bin or .pt file are a pickle, which Berth never loads. Save the model as safetensors "
        "with save_pretrained."
    )


def _read_config(directory: Path) -> dict[str, Any]:
    path = directory / CONFIG
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise PackageError(f"{path}: cannot read the file as JSON ({first_line(error)})") from error
    if not isinstance(config, dict):
        raise PackageError(f"{path}: the file is not a JSON object")
    return config


def _load(directory: Path, config: dict[str, Any]) -> Any:
    """Load the model with its weights, using only the directory's safetensors."""
    import torch
    import transformers

    for setting, reason in _REJECTED_SETTINGS.items():
        if setting in config:
            raise PackageError(f"{directory / CONFIG}: {setting}: {reason}.")
    if (directory / "adapter_config.json").exists():
        raise PackageError(
            f"{directory}: the directory contains an adapter. Merge it into its model, "
            "and package the result."
        )
    name = next(iter(config.get("architectures") or []), None)
    kind: Any = getattr(transformers, name, None) if isinstance(name, str) else None
    is_model = isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)
    if not is_model:
        raise PackageError(
            f"{directory / CONFIG}: architectures: transformers {transformers.__version__} has no "
            f"model {name}"
        )
    transformers.utils.logging.disable_progress_bar()
    for path in directory.glob("*.safetensors"):
        reject_pickle(path)
    try:
        model, report = kind.from_pretrained(
            directory,
            attn_implementation="eager",  # Another one could be code from elsewhere.
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except Exception as error:  # Each model and reader has its own exceptions.
        raise PackageError(
            f"{directory}: transformers {transformers.__version__} cannot load the model "
            f"({first_line(error)})"
        ) from error
    # transformers itself continues with random weights.
    if invalid := sorted(map(str, [*report["missing_keys"], *report["mismatched_keys"]])):
        raise PackageError(
            f"{directory}: weights are missing or have another shape: {', '.join(invalid[:3])}"
            + (f" and {len(invalid) - 3} more" if len(invalid) > 3 else "")
        )
    return model


def _prepare(model: Any) -> Any:
    """Configure the model to return only tensors by name."""
    model.config.use_cache = False
    model.config.return_dict = True
    return model.eval()


def _convert_model(model: Any, rows: Rows) -> Conversion:
    import transformers

    if not isinstance(model, transformers.PreTrainedModel):
        raise PackageError(
            f"{type(model).__name__}: the object is not a transformers PreTrainedModel"
        )
    named = rows if isinstance(rows, dict) else {model.main_input_name: rows}
    # Token IDs and their masks are rows of integers with a dynamic length.
    tokens = [name for name, value in named.items() if value.ndim == 2 and value.dtype.kind in "iu"]
    conversion = pytorch.convert_module(
        _prepare(model), named, dynamic=dict.fromkeys(tokens, (0, 1))
    )
    return replace(conversion, framework="transformers", framework_version=transformers.__version__)


def _predict(model: Any, conversion: Conversion, export: Path) -> dict[str, Array]:
    """Return transformers' predictions for the rows of an export, for outputs of the same name."""
    predictions = pytorch.predict_with_module(_prepare(model), dict(conversion.rows))
    outputs = [value.name for value in conversion.load_model().graph.output]
    common = {name: predictions[name] for name in outputs if name in predictions}
    if not common:
        raise PackageError(
            f"{export}: its outputs are {', '.join(outputs)}, but those of transformers are "
            f"{', '.join(predictions)}, so Berth cannot compare them. Add predictions to the rows, "
            "or package only the .onnx file."
        )
    return common


def _build_notes(directory: Path) -> tuple[str, ...]:
    omitted = [name for name in _PREPROCESSING if (directory / name).is_file()]
    if not omitted:
        return ()
    return (
        f"Not packaged: {', '.join(omitted)}. A version contains only the network; clients must "
        "tokenize or preprocess their inputs.",
    )
