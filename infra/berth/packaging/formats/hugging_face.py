"""Hugging Face: a model of transformers, or a folder with its ONNX export or its safetensors."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from berth.packaging.converted import Converted
from berth.packaging.errors import PackageError, first_line
from berth.packaging.formats import onnx, pytorch
from berth.packaging.pickles import refuse_pickle
from berth.packaging.rows import Array, Rows

CONFIG = "config.json"

# Where optimum, and the model hub, put an export.
_EXPORTS = ("model.onnx", "onnx/model.onnx")
_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")

# What makes inputs out of text and images: code of the client, since ONNX has no operator for it.
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

# Settings that have from_pretrained run or fetch something else than the folder's weights.
_REFUSED_SETTINGS = {
    "auto_map": "names code of its own, which is never run",
    "quantization_config": "has quantized weights; export them to ONNX",
}


def convert(model: object, rows: Rows) -> Converted:
    """A `PreTrainedModel`, or the folder that `save_pretrained` or an ONNX export wrote.

    An export is packaged byte for byte, with transformers' answers from the weights where both are
    in the folder. Otherwise the weights, or the model, are converted as a PyTorch module, in FP32,
    with the number of rows and of tokens free; a cache of keys and values is not given.

    Raises:
        PackageError: no such folder, a pickle, code or settings that would run code, weights that
            are missing or damaged, or what `pytorch.convert` refuses.
    """
    if not isinstance(model, Path):
        return _converted(model, rows)
    config = _config(model)
    export = next((model / name for name in _EXPORTS if (model / name).is_file()), None)
    weights = any((model / name).is_file() for name in _WEIGHTS)
    if export is not None:
        refuse_pickle(export)
        made = replace(onnx.convert(export, rows), framework="transformers")
        made = replace(made, framework_version=str(config.get("transformers_version", "")))
        if weights and not made.answers:
            made = replace(made, answers=_answers(_load(model, config), made, export))
    elif weights:
        made = _converted(_load(model, config), rows)
    else:
        raise PackageError(
            f"{model}: has none of {', '.join((*_EXPORTS, *_WEIGHTS))}. Weights in a .bin or .pt "
            "file are a pickle, which is never loaded: save_pretrained writes safetensors"
        )
    return replace(made, notes=_notes(model))


def _config(folder: Path) -> dict[str, Any]:
    path = folder / CONFIG
    try:
        config = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise PackageError(f"{path}: cannot be read as JSON ({first_line(error)})") from error
    if not isinstance(config, dict):
        raise PackageError(f"{path}: is no mapping")
    return config


def _load(folder: Path, config: dict[str, Any]) -> Any:
    """The model with its weights, from nothing but the folder's safetensors."""
    import torch
    import transformers

    for setting, why in _REFUSED_SETTINGS.items():
        if setting in config:
            raise PackageError(f"{folder / CONFIG}: {setting}: {why}")
    if (folder / "adapter_config.json").exists():
        raise PackageError(f"{folder}: is an adapter; merge it into its model, and save that")
    name = next(iter(config.get("architectures") or []), None)
    kind: Any = getattr(transformers, name, None) if isinstance(name, str) else None
    known = isinstance(kind, type) and issubclass(kind, transformers.PreTrainedModel)
    if not known:
        raise PackageError(
            f"{folder / CONFIG}: architectures: {name} is no model of transformers "
            f"{transformers.__version__}"
        )
    transformers.utils.logging.disable_progress_bar()
    for path in folder.glob("*.safetensors"):
        refuse_pickle(path)
    try:
        model, found = kind.from_pretrained(
            folder,
            attn_implementation="eager",  # what the folder names may be code from elsewhere
            dtype=torch.float32,
            local_files_only=True,
            output_loading_info=True,
            trust_remote_code=False,
            use_safetensors=True,
        )
    except Exception as error:  # every model and reader has exceptions of its own
        raise PackageError(
            f"{folder}: transformers {transformers.__version__} cannot load it "
            f"({first_line(error)})"
        ) from error
    # transformers itself goes on, with random weights in their place.
    if wrong := sorted(map(str, [*found["missing_keys"], *found["mismatched_keys"]])):
        raise PackageError(
            f"{folder}: has no weights that fit {', '.join(wrong[:3])}"
            + (f" and {len(wrong) - 3} more" if len(wrong) > 3 else "")
        )
    return model


def _plain(model: Any) -> Any:
    """The model, answering with tensors by name only."""
    model.config.use_cache = False
    model.config.return_dict = True
    return model.eval()


def _converted(model: Any, rows: Rows) -> Converted:
    import transformers

    if not isinstance(model, transformers.PreTrainedModel):
        raise PackageError(f"{type(model).__name__}: is no PreTrainedModel of transformers")
    named = rows if isinstance(rows, dict) else {model.main_input_name: rows}
    # Token ids and their masks are rows of whole numbers; their length is free too.
    tokens = [name for name, value in named.items() if value.ndim == 2 and value.dtype.kind in "iu"]
    made = pytorch.convert_module(_plain(model), named, free=dict.fromkeys(tokens, (0, 1)))
    return replace(made, framework="transformers", framework_version=transformers.__version__)


def _answers(model: Any, made: Converted, export: Path) -> dict[str, Array]:
    """transformers' own answers to the rows of an export, where it gives them by the same name."""
    from onnx import load_model_from_string

    answers = pytorch.answers_of_module(_plain(model), dict(made.rows))
    outputs = [value.name for value in load_model_from_string(made.model).graph.output]
    common = {name: answers[name] for name in outputs if name in answers}
    if not common:
        raise PackageError(
            f"{export}: gives {', '.join(outputs)}, and transformers {', '.join(answers)}: "
            "nothing can be compared; give the answers in the rows, or the .onnx file alone"
        )
    return common


def _notes(folder: Path) -> tuple[str, ...]:
    left_out = [name for name in _PREPROCESSING if (folder / name).is_file()]
    if not left_out:
        return ()
    return (
        f"not packaged: {', '.join(left_out)}. A version holds the network alone; what it is asked "
        "must be tokenized or preprocessed before",
    )
