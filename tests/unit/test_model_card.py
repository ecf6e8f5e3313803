"""The model card covers every file of a version."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from berth_protocol.model_card import (
    CARD_FILE,
    MODEL_FILE,
    SCHEMA,
    CardError,
    ModelCard,
    Source,
    Tensor,
    example_body,
    file_sha256,
    read_card,
    verify_files,
)


@pytest.fixture
def version(tmp_path: Path) -> Path:
    """Write a version whose external data is in a directory."""
    directory = tmp_path / "1"
    (directory / "data").mkdir(parents=True)
    (directory / MODEL_FILE).write_bytes(b"model")
    (directory / "data" / "weights").write_bytes(b"weights")
    write_card(directory, {})
    return directory


def write_card(directory: Path, example: dict[str, Any], example_file: str = "") -> None:
    names = [MODEL_FILE, "data/weights", *([example_file] if example_file else [])]
    card = ModelCard(
        schema=SCHEMA,
        name="m",
        version="1",
        files={name: file_sha256(directory / name) for name in names},
        inputs=[Tensor("x", "FP32", [-1])],
        outputs=[],
        example=example,
        example_file=example_file,
        source=Source("onnx"),
    )
    (directory / CARD_FILE).write_bytes(msgspec.yaml.encode(card))


def _add_file(directory: Path) -> None:
    (directory / "notes.txt").write_text("later")


def _add_nested_file(directory: Path) -> None:
    (directory / "data" / "deep").mkdir()
    (directory / "data" / "deep" / ".hidden").write_text("later")


def _link_model(directory: Path) -> None:
    (directory / MODEL_FILE).rename(directory.parent / "elsewhere")
    (directory / MODEL_FILE).symlink_to(directory.parent / "elsewhere")


def _link_inside(directory: Path) -> None:
    (directory / "again").symlink_to(MODEL_FILE)


def _link_directory(directory: Path) -> None:
    (directory / "data").rename(directory.parent / "data")
    (directory / "data").symlink_to(directory.parent / "data")


def _link_card(directory: Path) -> None:
    (directory / CARD_FILE).rename(directory.parent / CARD_FILE)
    (directory / CARD_FILE).symlink_to(directory.parent / CARD_FILE)


def _add_dangling_link(directory: Path) -> None:
    (directory / "nowhere").symlink_to("absent")


def _add_pipe(directory: Path) -> None:
    os.mkfifo(directory / "pipe")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_add_file, r"notes\.txt: is not listed"),
        (_add_nested_file, r"data/deep/\.hidden: is not listed"),
        (_link_model, r"model\.onnx: is a symbolic link"),
        (_link_inside, r"again: is a symbolic link"),
        (_link_directory, r"data: is a symbolic link"),
        (_link_card, r"model\.yaml: is a symbolic link"),
        (_add_dangling_link, r"nowhere: is a symbolic link"),
        (_add_pipe, r"pipe: is not (listed|a regular file)"),
    ],
)
def test_file_that_card_does_not_cover_makes_version_invalid(
    change: Callable[[Path], None], message: str, version: Path
) -> None:
    verify_files(version, read_card(version))
    change(version)
    with pytest.raises(CardError, match=message):
        verify_files(version, read_card(version))


def test_directory_of_version_may_be_reached_through_link(version: Path) -> None:
    link = version.parent / "current"
    link.symlink_to(version)
    verify_files(link, read_card(link))


def test_example_body_is_json_of_card_or_content_of_file(version: Path) -> None:
    example = {"inputs": [{"name": "x", "shape": [1], "datatype": "FP32", "data": [1.0]}]}
    write_card(version, example)
    body, header_length = example_body(version, read_card(version))
    assert (msgspec.json.decode(body), header_length) == (example, None)
    (version / "example.bin").write_bytes(b"{...}" + bytes(8))
    large = {"inputs": [{"name": "x", "parameters": {"binary_data_size": 8}}]}
    write_card(version, large, "example.bin")
    assert example_body(version, read_card(version)) == (b"{...}" + bytes(8), 5)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"parameters": {"binary_data_size": 99}}, "fewer than its tensors"),
        ({"data": [1.0]}, "needs parameters.binary_data_size"),
    ],
)
def test_example_file_that_differs_from_card_is_reported(
    entry: dict[str, Any], message: str, version: Path
) -> None:
    (version / "example.bin").write_bytes(b"{...}" + bytes(8))
    write_card(version, {"inputs": [{"name": "x", **entry}]}, "example.bin")
    with pytest.raises(CardError, match=message):
        example_body(version, read_card(version))
