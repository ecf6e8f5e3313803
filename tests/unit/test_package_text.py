"""Text models: the packaged tokenizer, pooling and labels equal Hugging Face's."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from click.testing import CliRunner
from tokenizers import Tokenizer

from berth.cli.main import main
from berth.operations.package import PackageError, package_model
from berth.packaging.text.attach import prove_tokenizer
from berth.packaging.text.corpus import COUNT, build_corpus
from berth.packaging.text.folder import read_text_folder
from tests.text_folder import (
    SIZE,
    SPECIAL,
    build_network,
    build_vocabulary,
    define_pooling,
    define_tokenizer,
    prove_few_texts,
    write_folder,
    write_safetensors,
)


@pytest.fixture(autouse=True)
def _few_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare few texts, and read each table only once."""
    prove_few_texts(monkeypatch, 200)


@pytest.fixture
def _all_texts(_few_texts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compare as many texts as for a user."""
    prove_few_texts(monkeypatch, COUNT)


TEXTS = [
    "The weather is lovely today.",
    "",
    "unhappyly 中文 playing x [SEP] İstanbul's café",
    "run " * 40,
]
MEAN = define_pooling("mean_tokens")


def _slow(*case: Any) -> Any:
    """Return one of several cases of the same kind."""
    return pytest.param(*case, marks=pytest.mark.slow)


def _package(directory: Path, tmp_path: Path, rows: Any = TEXTS) -> Any:
    return package_model(directory, rows=rows, name="m", version="1", into=tmp_path / "models")


def _run(packaged: Any, texts: list[str]) -> dict[str, Any]:
    session = onnxruntime.InferenceSession(packaged.path / "model.onnx")
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {"text": np.array(texts, object)}), strict=True))


def _embed(directory: Path, text: str, modes: tuple[str, ...], *, normalize: bool) -> Any:
    """Compute an embedding from Hugging Face's tokenizer, without the code under test."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    tokenizer.enable_truncation(32)
    ids = np.array([tokenizer.encode(text).ids])
    session = onnxruntime.InferenceSession(directory / "onnx" / "model.onnx")
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    states = session.run(["last_hidden_state"], feeds)[0][0].astype(float)
    values = {
        "cls_token": states[0],
        "max_tokens": states.max(0),
        "mean_tokens": states.mean(0),
        "mean_sqrt_len_tokens": states.sum(0) / np.sqrt(len(states)),
        "weightedmean_tokens": np.average(states, axis=0, weights=range(1, len(states) + 1)),
        "lasttoken": states[-1],
    }
    result = np.concatenate([values[mode] for mode in modes])
    return result / np.linalg.norm(result) if normalize else result


_POOLINGS = (
    ("mean_tokens",),
    ("cls_token",),
    ("max_tokens",),
    ("mean_sqrt_len_tokens",),
    ("weightedmean_tokens",),
    ("lasttoken",),
    ("cls_token", "max_tokens", "mean_tokens"),
)
_QUICK = ((("mean_tokens",), True), (("cls_token", "max_tokens", "mean_tokens"), False))


@pytest.mark.parametrize(
    ("modes", "normalize"),
    [
        pytest.param(
            modes,
            normalize,
            id=f"{'-'.join(modes)}-{normalize}",
            marks=() if (modes, normalize) in _QUICK else pytest.mark.slow,
        )
        for modes in _POOLINGS
        for normalize in (True, False)
    ],
)
def test_embedding_equals_that_of_sentence_transformers(
    modes: tuple[str, ...], normalize: bool, tmp_path: Path
) -> None:
    directory = write_folder(tmp_path / "hf", **define_pooling(*modes, normalize=normalize))

    packaged = _package(directory, tmp_path)

    assert [(t.name, t.datatype, t.shape) for t in packaged.card.inputs] == [
        ("text", "BYTES", [-1])
    ]
    assert [tensor.name for tensor in packaged.card.outputs] == ["sentence_embedding"]
    assert packaged.card.operators == {}
    together = _run(packaged, TEXTS)["sentence_embedding"]
    for text, row in zip(TEXTS, together, strict=True):
        wanted = _embed(directory, text, modes, normalize=normalize)
        np.testing.assert_allclose(row, wanted, atol=1e-5)
        np.testing.assert_allclose(
            _run(packaged, [text])["sentence_embedding"][0], wanted, atol=1e-5
        )


def test_embedding_has_passed_dense_module(tmp_path: Path) -> None:
    files = define_pooling("mean_tokens", normalize=False)
    files["modules"].append({"idx": 2, "name": "2", "path": "2_Dense", "type": "models.Dense"})
    files["2_Dense__config"] = {"in_features": SIZE, "out_features": 3, "bias": True}
    directory = write_folder(tmp_path / "hf", **files)
    matrix = np.random.default_rng(0).normal(size=(3, SIZE)).astype(np.float32)
    bias = np.array([1, 2, 3], np.float32)
    weights = {"linear.weight": matrix, "linear.bias": bias}
    write_safetensors(directory / "2_Dense" / "model.safetensors", weights)

    result = _run(_package(directory, tmp_path), TEXTS)["sentence_embedding"]

    pooled = [_embed(directory, text, ("mean_tokens",), normalize=False) for text in TEXTS]
    np.testing.assert_allclose(result, np.tanh(np.array(pooled) @ matrix.T + bias), atol=1e-5)


@pytest.mark.slow
@pytest.mark.usefixtures("_all_texts")
@pytest.mark.parametrize(
    ("normalizer", "words"),
    [
        ({}, 100),
        ({"lowercase": False}, 100),
        ({"strip_accents": False}, 30),
        ({"lowercase": False, "strip_accents": True, "handle_chinese_chars": False}, 5),
        ({"clean_text": False}, 100),
    ],
)
def test_token_ids_equal_those_of_hugging_face(
    normalizer: dict[str, Any], words: int, tmp_path: Path
) -> None:
    definition = define_tokenizer(**normalizer)
    definition["model"]["max_input_chars_per_word"] = words
    text_folder = read_text_folder(write_folder(tmp_path / "hf", tokenizer=definition))

    assert prove_tokenizer(text_folder, TEXTS) >= COUNT


@pytest.mark.slow
@pytest.mark.usefixtures("_all_texts")
@pytest.mark.parametrize("lowercase", [True, False])
def test_tokens_in_normalized_text_are_recognized(lowercase: bool, tmp_path: Path) -> None:
    definition = define_tokenizer(build_vocabulary(["<unk>", "</s>"]), lowercase=lowercase)
    for content in ("<unk>", "</s>"):
        token = definition["added_tokens"][4] | {"normalized": True, "content": content}
        token["id"] = definition["model"]["vocab"][content]
        definition["added_tokens"].append(token)
    text_folder = read_text_folder(write_folder(tmp_path / "hf", tokenizer=definition))
    forms = ["a<UNK>b", "< unk>", "<unk", "<u\0nk></S></s>", "<<unk>>", "[SEP]<unk>[SEP]", "<ünk>"]

    assert prove_tokenizer(text_folder, forms) >= COUNT


def test_proof_fails_for_operators_that_differ(tmp_path: Path) -> None:
    right = read_text_folder(write_folder(tmp_path / "hf"))
    wrong = replace(right, wordpiece=replace(right.wordpiece, longest_word=99))

    with pytest.raises(PackageError, match="but Hugging Face's are"):
        prove_tokenizer(wrong, [])


def test_corpus_is_the_same_in_every_run() -> None:
    texts = build_corpus(["run", "##ing"], SPECIAL)

    assert len(texts) == COUNT
    assert texts == build_corpus(["run", "##ing"], SPECIAL)
    assert len(set(texts)) > 0.95 * COUNT


@pytest.mark.parametrize("opset", [13, _slow(16), _slow(18), 20])
def test_every_operator_set_is_supported(opset: int, tmp_path: Path) -> None:
    network = build_network(len(build_vocabulary()), opset=opset)
    directory = write_folder(tmp_path / "hf", network=network, **MEAN)

    packaged = _package(directory, tmp_path)

    wanted = _embed(directory, TEXTS[2], ("mean_tokens",), normalize=True)
    np.testing.assert_allclose(_run(packaged, TEXTS)["sentence_embedding"][2], wanted, atol=1e-5)


def test_labels_have_names_in_answer(tmp_path: Path) -> None:
    names = {"0": "negative", "1": "neutral", "2": "positive"}
    config: dict[str, Any] = {"architectures": ["BertForSequenceClassification"], "id2label": names}
    network = build_network(len(build_vocabulary()), labels=3)
    directory = write_folder(
        tmp_path / "hf", network=network, config=config | {"max_position_embeddings": 32}
    )

    result = _run(_package(directory, tmp_path), TEXTS)

    assert set(result) == {"label", "probabilities", "logits"}
    best = result["logits"].argmax(1)
    assert result["label"].tolist() == [names[str(place)] for place in best]
    np.testing.assert_allclose(result["probabilities"].sum(1), 1, atol=1e-6)
    assert len(set(best)) > 1


def test_wrong_number_of_labels_is_refused(tmp_path: Path) -> None:
    names = {"0": "a", "1": "b"}
    config: dict[str, Any] = {"architectures": ["BertForSequenceClassification"], "id2label": names}
    network = build_network(len(build_vocabulary()), labels=3)
    config |= {"max_position_embeddings": 32}
    directory = write_folder(tmp_path / "hf", network=network, config=config)

    with pytest.raises(PackageError, match="id2label has 2 labels, but the network returns 3"):
        _package(directory, tmp_path)


def test_independent_labels_have_independent_probabilities(tmp_path: Path) -> None:
    config = {
        "architectures": ["BertForSequenceClassification"],
        "id2label": {"0": "rude", "1": "spam"},
        "problem_type": "multi_label_classification",
        "max_position_embeddings": 32,
    }
    network = build_network(len(build_vocabulary()), labels=2)
    directory = write_folder(tmp_path / "hf", network=network, config=config)

    result = _run(_package(directory, tmp_path), TEXTS)

    np.testing.assert_allclose(result["probabilities"], 1 / (1 + np.exp(-result["logits"])), 1e-5)


def test_network_without_head_returns_states_with_their_tokens(tmp_path: Path) -> None:
    packaged = _package(write_folder(tmp_path / "hf"), tmp_path)

    result = _run(packaged, TEXTS)
    assert set(result) == {"last_hidden_state", "pooler_output", "input_ids", "attention_mask"}
    assert result["attention_mask"].sum(1).tolist()[1] == 2
    assert any("pooler_output is not an embedding" in note for note in packaged.notes)


def test_token_types_and_weights_next_to_export_need_no_framework(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    network = build_network(len(build_vocabulary()), inputs=["token_type_ids"])
    directory = write_folder(tmp_path / "hf", network=network, **MEAN)
    (directory / "model.safetensors").write_bytes(b"{}")

    packaged = _package(directory, tmp_path)

    assert any("transformers is not installed" in note for note in packaged.notes)
    assert np.isfinite(_run(packaged, TEXTS)["sentence_embedding"]).all()


@pytest.mark.parametrize(
    ("files", "tokens"),
    [
        ({"tokenizer_config": {"model_max_length": 16}}, 16),
        _slow({"tokenizer_config": {"model_max_length": 10**30}}, 32),
        _slow({"sentence_bert_config": {"max_seq_length": 8}}, 8),
        _slow({"sentence_bert_config": {"max_seq_length": 64}}, 32),
        _slow({"sentence_bert_config": {"max_seq_length": None},
               "tokenizer_config": {"model_max_length": 12}}, 12),
        ({"config": {"model_type": "mpnet", "max_position_embeddings": 32}}, 30),
    ],
)  # fmt: skip
def test_text_is_truncated_to_configured_length(
    files: dict[str, Any], tokens: int, tmp_path: Path
) -> None:
    packaged = _package(write_folder(tmp_path / "hf", **files), tmp_path)

    ids = _run(packaged, ["run " * 100])["input_ids"]
    assert ids.shape == (1, tokens)
    assert any(f"truncated to {tokens} tokens" in note for note in packaged.notes)


@pytest.mark.slow
@pytest.mark.usefixtures("_all_texts")
def test_vocabulary_file_without_tokenizer_json_is_supported(tmp_path: Path) -> None:
    directory = write_folder(tmp_path / "hf", tokenizer_config={"do_lower_case": False}, **MEAN)
    (directory / "tokenizer.json").unlink()
    (directory / "vocab.txt").write_text("\n".join(build_vocabulary()), "utf-8")

    assert prove_tokenizer(read_text_folder(directory), TEXTS) >= COUNT


def test_rows_default_to_texts_for_directory_with_tokenizer(tmp_path: Path) -> None:
    directory = write_folder(tmp_path / "hf", **MEAN)
    arguments = ["--name", "m", "--version", "1", "--into", str(tmp_path / "models"), "--json"]

    result = CliRunner().invoke(main, ["package", str(directory), *arguments])

    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["rows_compared"] == 3
    assert "token IDs equal Hugging Face's for 203 texts" in result.stderr


def test_embeddings_in_rows_are_compared(tmp_path: Path) -> None:
    directory = write_folder(tmp_path / "hf", **MEAN)
    right = [_embed(directory, text, ("mean_tokens",), normalize=True) for text in TEXTS]
    rows = {"text": np.array(TEXTS, object), "sentence_embedding": np.array(right)}
    _package(directory, tmp_path, rows)

    rows["sentence_embedding"] = rows["sentence_embedding"] + 0.01
    with pytest.raises(PackageError, match="output 'sentence_embedding': differs"):
        _package(directory, tmp_path, rows)


def _change(definition: dict[str, Any], **more: Any) -> dict[str, Any]:
    return definition | more


def _change_added(**more: Any) -> dict[str, Any]:
    definition = define_tokenizer()
    definition["added_tokens"][4] |= more
    return definition


BPE: dict[str, Any] = {"type": "BPE", "vocab": {"a": 0}, "merges": [], "unk_token": None}
SPLIT = {"type": "Whitespace"}
NFC = {"type": "NFC"}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"tokenizer": _change(define_tokenizer(), model=BPE, added_tokens=[])}, "its kind is BPE"),
        ({"tokenizer": _change(define_tokenizer(), normalizer=NFC)}, "normalizer NFC"),
        ({"tokenizer": _change(define_tokenizer(), pre_tokenizer=SPLIT)}, "pre-tokenizer White"),
        ({"tokenizer": _change_added(single_word=True)}, "recognized only as a word"),
        ({"tokenizer": _change_added(normalized=True, content="mask")}, "recognized within words"),
        ({"tokenizer": _change_added(content="]SEP")}, "can overlap"),
        ({"tokenizer_config": {"do_lower_case": False}}, "do_lower_case: False, but"),
        ({"tokenizer_config": {"padding_side": "left"}}, "padding_side: left"),
        ({"tokenizer_config": {"truncation_side": "left"}}, "truncation_side: left"),
        ({"tokenizer_config": {"model_max_length": 2}}, "no room for text"),
        ({"config": {}}, "no model_max_length"),
        ({"sentence_bert_config": {"do_lower_case": True}}, "do_lower_case: true"),
        ({"config_sentence_transformers": {"default_prompt_name": "query"}}, "prompt 'query'"),
        (define_pooling("attention"), "the pooling mode attention is not supported"),
    ],
)  # fmt: skip
def test_what_cannot_be_exact_is_refused_with_reason(
    files: dict[str, Any], message: str, tmp_path: Path
) -> None:
    directory = write_folder(tmp_path / "hf", **files)

    with pytest.raises(PackageError, match=message):
        _package(directory, tmp_path)
    assert not (tmp_path / "models").exists()


def test_token_ids_as_rows_package_only_the_network(tmp_path: Path) -> None:
    definition = _change(define_tokenizer(), model=BPE, added_tokens=[])
    directory = write_folder(
        tmp_path / "hf", tokenizer=definition, network=build_network(len(build_vocabulary()))
    )
    ids = np.array([[2, 7, 3], [2, 9, 3]])

    packaged = _package(
        directory, tmp_path, {"input_ids": ids, "attention_mask": np.ones_like(ids)}
    )

    assert [tensor.name for tensor in packaged.card.inputs] == ["input_ids", "attention_mask"]
    assert any("Not packaged: tokenizer.json" in note for note in packaged.notes)


def test_token_ids_as_rows_are_pooled_as_well(tmp_path: Path) -> None:
    directory = write_folder(tmp_path / "hf", **MEAN)
    ids = np.array([[2, 7, 3, 0], [2, 9, 8, 3]])
    mask = np.array([[1, 1, 1, 0], [1, 1, 1, 1]])

    packaged = _package(directory, tmp_path, {"input_ids": ids, "attention_mask": mask})

    assert [tensor.name for tensor in packaged.card.outputs] == ["sentence_embedding"]
    session = onnxruntime.InferenceSession(packaged.path / "model.onnx")
    (result,) = session.run(None, {"input_ids": ids, "attention_mask": mask})
    first = {"input_ids": ids[:1, :3], "attention_mask": mask[:1, :3]}
    np.testing.assert_allclose(session.run(None, first)[0], result[:1], atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(result, axis=1), 1, atol=1e-6)


def test_network_with_unknown_input_is_refused(tmp_path: Path) -> None:
    network = build_network(len(build_vocabulary()), inputs=["position_ids"])

    with pytest.raises(PackageError, match="position_ids"):
        _package(write_folder(tmp_path / "hf", network=network), tmp_path)
