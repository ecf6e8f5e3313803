"""Reads how a Hugging Face directory turns text into token IDs, and IDs into its answer."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from berth.packaging.errors import PackageError, first_line
from berth.packaging.text.characters import find_reordered_marks, read_character_table
from berth.packaging.text.vocabulary import WordPiece

TOKENIZER_FILES = ("tokenizer.json", "vocab.txt")

# Files in which sentence-transformers stores the maximum length.
_SENTENCE_CONFIGS = (
    "sentence_bert_config.json",
    "sentence_roberta_config.json",
    "sentence_distilbert_config.json",
    "sentence_camembert_config.json",
    "sentence_albert_config.json",
    "sentence_xlm-roberta_config.json",
)
# transformers writes 10^30 for "no limit".
_NO_LIMIT = 1_000_000

# These models count positions from the ID after the padding, which is 1.
_POSITIONS_FROM_2 = ("camembert", "mpnet", "roberta", "xlm-roberta")

# Normalizers that treat each character by itself.
_NORMALIZERS = ("BertNormalizer", "Lowercase", "NFD", "NFKD", "StripAccents")
_BERT_SETTINGS = {
    "do_lower_case": "lowercase",
    "strip_accents": "strip_accents",
    "tokenize_chinese_chars": "handle_chinese_chars",
}


@dataclass(frozen=True)
class TextFolder:
    """The tokenizer of a directory.

    Attributes:
        tokenizer: Hugging Face's implementation, a `tokenizers.Tokenizer` that truncates.
        wordpiece: The same tokenizer for the graph.
    """

    tokenizer: Any
    wordpiece: WordPiece


def has_tokenizer(directory: Path) -> bool:
    """Return whether the directory contains a tokenizer that Berth can read."""
    return any((directory / name).is_file() for name in TOKENIZER_FILES)


def read_text_folder(directory: Path) -> TextFolder:
    """Read the tokenizer of a directory.

    Raises:
        PackageError: If the directory has no tokenizer, or one that the graph cannot represent. The
            message gives the reason, and says how to package the network by itself.
    """
    try:
        return _read(directory)
    except PackageError as error:
        raise PackageError(
            f"{directory}: the tokenizer cannot be packaged: {error}. Nothing was packaged. To "
            "package only the network, pass token IDs as rows; clients then tokenize."
        ) from error


def read_json(path: Path) -> dict[str, Any]:
    """Read an optional JSON object.

    Raises:
        PackageError: If the file is not a JSON object.
    """
    if not path.is_file():
        return {}
    try:
        content = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise PackageError(f"{path}: cannot read the file as JSON ({first_line(error)})") from error
    if not isinstance(content, dict):
        raise PackageError(f"{path}: the file is not a JSON object")
    return content


def _read(directory: Path) -> TextFolder:
    settings = read_json(directory / "tokenizer_config.json")
    tokenizer = _load_tokenizer(directory, settings)
    definition = json.loads(tokenizer.to_str())
    kind = definition["model"].get("type")
    if kind != "WordPiece":
        raise PackageError(f"its kind is {kind}; only WordPiece has been proven equal")
    _check_settings(directory, settings, definition)
    first, last = _read_template(definition.get("post_processor"), tokenizer)
    limit = _find_max_tokens(directory, settings, definition)
    room = limit - len(first) - len(last)
    if room < 1:
        raise PackageError(f"its maximum length of {limit} tokens has no room for text")
    tokenizer.no_padding()
    tokenizer.enable_truncation(limit)
    model = definition["model"]
    vocabulary: dict[str, int] = model["vocab"]
    if model["unk_token"] not in vocabulary:
        raise PackageError(f"its unknown token {model['unk_token']!r} is not in its vocabulary")
    characters = read_character_table(tokenizer, {c for token in vocabulary for c in token})
    if marks := find_reordered_marks(characters):
        raise PackageError(
            f"its normalizer may change the order of the characters {', '.join(map(ascii, marks))}"
        )
    special, normalized = _read_added_tokens(definition, tokenizer)
    wordpiece = WordPiece(
        vocabulary=vocabulary,
        characters=characters,
        special=special,
        normalized=normalized,
        unknown=vocabulary[model["unk_token"]],
        continuation=model["continuing_subword_prefix"],
        longest_word=model["max_input_chars_per_word"],
        first=first,
        last=last,
        padding=_find_padding(directory, settings, definition, tokenizer),
        max_tokens=limit,
    )
    return TextFolder(tokenizer, wordpiece)


def _load_tokenizer(directory: Path, settings: Mapping[str, Any]) -> Any:
    import tokenizers

    path = directory / TOKENIZER_FILES[0]
    try:
        if path.is_file():
            return tokenizers.Tokenizer.from_file(str(path))
        if (path := directory / TOKENIZER_FILES[1]).is_file():
            options = {
                name: settings[key] for key, name in _BERT_SETTINGS.items() if key in settings
            }
            return tokenizers.BertWordPieceTokenizer(str(path), **options)._tokenizer
    except Exception as error:  # The library raises plain exceptions.
        raise PackageError(f"{path}: not a tokenizer ({first_line(error)})") from error
    raise PackageError(f"the directory has none of {', '.join(TOKENIZER_FILES)}")


def _check_settings(
    directory: Path, settings: Mapping[str, Any], definition: Mapping[str, Any]
) -> None:
    normalizer = definition["normalizer"] or {"type": "Sequence", "normalizers": []}
    parts = normalizer.get("normalizers", [normalizer])
    if unknown := [part["type"] for part in parts if part["type"] not in _NORMALIZERS]:
        raise PackageError(f"its normalizer {unknown[0]} is not supported")
    pre_tokenizer = (definition["pre_tokenizer"] or {}).get("type")
    if pre_tokenizer != "BertPreTokenizer":
        raise PackageError(f"its pre-tokenizer {pre_tokenizer} is not supported")
    for part in parts:
        for key, name in _BERT_SETTINGS.items():
            if part["type"] == "BertNormalizer" and settings.get(key, part[name]) != part[name]:
                raise PackageError(
                    f"tokenizer_config.json has {key}: {settings[key]}, but tokenizer.json has "
                    f"{name}: {part[name]}. Make them equal"
                )
    for key in ("padding_side", "truncation_side"):
        if settings.get(key, "right") != "right":
            raise PackageError(f"tokenizer_config.json has {key}: {settings[key]}, not right")
    for path in (directory / name for name in _SENTENCE_CONFIGS):
        if read_json(path).get("do_lower_case"):
            raise PackageError(f"{path.name} has do_lower_case: true; use that of the tokenizer")
    if prompt := read_json(directory / "config_sentence_transformers.json").get(
        "default_prompt_name"
    ):
        raise PackageError(
            f"config_sentence_transformers.json adds the prompt {prompt!r} to each text"
        )


def _read_added_tokens(
    definition: Mapping[str, Any], tokenizer: Any
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the tokens that are recognized in text, such as [SEP], and in normalized text.

    Space at their sides (lstrip, rstrip) is irrelevant, because words end there anyway.
    """
    special, normalized = {}, {}
    for token in definition["added_tokens"]:
        content = token["content"]
        if token["single_word"]:
            raise PackageError(f"its added token {content!r} is recognized only as a word")
        if token["normalized"] and tokenizer.normalizer is not None:
            normalized[tokenizer.normalizer.normalize_str(content)] = token["id"]
        else:
            special[content] = token["id"]
    return special, normalized


def _read_template(
    processor: Mapping[str, Any] | None, tokenizer: Any
) -> tuple[list[int], list[int]]:
    """Return the IDs before and after those of one text."""
    if processor is None:
        return [], []
    if processor["type"] in ("BertProcessing", "RobertaProcessing"):
        return [processor["cls"][1]], [processor["sep"][1]]
    if processor["type"] != "TemplateProcessing":
        raise PackageError(f"its post-processor {processor['type']} is not supported")
    sides: tuple[list[int], list[int]] = ([], [])
    side = 0
    for piece in processor["single"]:
        ((name, value),) = piece.items()
        if value["type_id"] != 0:
            raise PackageError("its tokens of a single text have several types")
        if name == "Sequence":
            side += 1
        else:
            sides[min(side, 1)].extend(processor["special_tokens"][value["id"]]["ids"])
    if side != 1 or tokenizer.num_special_tokens_to_add(False) != len(sides[0]) + len(sides[1]):
        raise PackageError("its template does not contain the text exactly once")
    return sides


def _find_max_tokens(
    directory: Path, settings: Mapping[str, Any], definition: Mapping[str, Any]
) -> int:
    """Return the maximum number of tokens, as sentence-transformers or transformers uses it."""
    config = read_json(directory / "config.json")
    sentences = (read_json(directory / name).get("max_seq_length") for name in _SENTENCE_CONFIGS)
    length = next(filter(None, sentences), None) or settings.get("model_max_length")
    if length is None or length > _NO_LIMIT:
        length = (definition.get("truncation") or {}).get("max_length", _NO_LIMIT)
    positions = config.get("max_position_embeddings") or _NO_LIMIT
    if config.get("model_type") in _POSITIONS_FROM_2:
        positions -= 2
    limit = min(length, positions)
    if limit >= _NO_LIMIT:
        raise PackageError("tokenizer_config.json has no model_max_length. Add it")
    return int(limit)


def _find_padding(
    directory: Path, settings: Mapping[str, Any], definition: Mapping[str, Any], tokenizer: Any
) -> int:
    token = settings.get("pad_token")
    token = token.get("content") if isinstance(token, dict) else token
    candidates = (
        tokenizer.token_to_id(token) if token else None,
        read_json(directory / "config.json").get("pad_token_id"),
        (definition.get("padding") or {}).get("pad_id"),
    )
    return next((int(value) for value in candidates if value is not None), 0)
