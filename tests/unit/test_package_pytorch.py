"""Packaging PyTorch modules and programs: same predictions, and a file runs no code."""

import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from berth.cli.main import main
from berth.operations.package import PackageError, package_model
from berth_protocol.model_card import read_card

REASON = "PyTorch is not installed: pip install 'berth[torch]'"
torch = pytest.importorskip("torch", reason=REASON)
pytest.importorskip("onnxscript", reason=REASON)
Module: Any = torch.nn.Module

# Use one thread: several would wait for each other if tests share the CPUs.
torch.set_num_threads(1)

NUMBERS = np.random.default_rng(0).random((12, 4))
IMAGES = np.random.default_rng(0).random((6, 3, 16, 16), np.float32)
TOKENS = np.random.default_rng(0).integers(0, 50, (6, 8))


class Small(Module):  # type: ignore[misc]
    """A module with a parameter of each kind: weights, a buffer and a constant."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 3)
        self.norm = torch.nn.BatchNorm1d(3)
        self.drop = torch.nn.Dropout(0.5)

    def forward(self, features: Any) -> Any:
        scores = self.drop(self.norm(self.layer(features)))
        return torch.softmax(scores + torch.tensor([1.0, 2.0, 3.0]), 1)


class Words(Module):  # type: ignore[misc]
    """A module with two inputs that returns a mapping."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = torch.nn.Embedding(50, 16)
        layer = torch.nn.TransformerEncoderLayer(16, 2, 32, batch_first=True)
        self.encode = torch.nn.TransformerEncoder(layer, 2)

    def forward(self, tokens: Any, mask: Any) -> Any:
        encoded = self.encode(self.embed(tokens), src_key_padding_mask=mask == 0)
        return {"states": encoded, "pooled": encoded.mean(1)}


class Pair(Module):  # type: ignore[misc]
    """A module that returns a number and a label and computes a size."""

    def forward(self, features: Any) -> Any:
        flat = features.reshape(features.shape[0] * 2, -1)
        return flat.reshape(features.shape[0], -1).sum(1), features.argmax(1)


def _images() -> Any:
    parts = [torch.nn.Conv2d(3, 8, 3, padding=1), torch.nn.BatchNorm2d(8), torch.nn.ReLU()]
    parts += [torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(), torch.nn.Linear(8, 5)]
    return torch.nn.Sequential(*parts)


def _seeded(module: Callable[[], Any]) -> Any:
    torch.manual_seed(0)
    return module().eval()


MODULES: dict[str, tuple[Callable[[], Any], Any, dict[str, str]]] = {
    "small": (Small, NUMBERS, {"output": "FP32"}),
    "images": (_images, IMAGES, {"output": "FP32"}),
    "words": (
        Words,
        {"tokens": TOKENS, "mask": np.ones_like(TOKENS)},
        {"states": "FP32", "pooled": "FP32"},
    ),
    "pair": (Pair, NUMBERS, {"output_0": "FP32", "output_1": "INT64"}),
}


def _exported(module: Any, rows: Any) -> Any:
    few = rows if isinstance(rows, dict) else {"features": rows}
    few = {
        name: torch.from_numpy(values[:2].astype(np.float32 if values.dtype.kind == "f" else int))
        for name, values in few.items()
    }
    shapes = tuple({0: torch.export.Dim("batch")} for _ in few)
    return torch.export.export(module, tuple(few.values()), dynamic_shapes=shapes)


@pytest.mark.parametrize("name", MODULES)
def test_module_gives_same_predictions(name: str, tmp_path: Path) -> None:
    make, rows, outputs = MODULES[name]
    packaged = package_model(_seeded(make), rows=rows, name="m", version="1", into=tmp_path)
    assert {tensor.name: tensor.datatype for tensor in packaged.card.outputs} == outputs
    assert all(tensor.shape[0] == -1 for tensor in packaged.card.inputs)
    assert packaged.card.source.framework == "pytorch"
    again = package_model(_seeded(make), rows=rows, name="m", version="1", into=tmp_path)
    assert not again.changed


@pytest.mark.parametrize("name", MODULES)
def test_program_file_gives_same_predictions(name: str, tmp_path: Path) -> None:
    make, rows, outputs = MODULES[name]
    program = _exported(_seeded(make), rows)
    packaged = package_model(program, rows=rows, name="m", version="1", into=tmp_path)
    assert {tensor.name: tensor.datatype for tensor in packaged.card.outputs} == outputs
    torch.export.save(program, tmp_path / "saved.pt2")
    again = package_model(tmp_path / "saved.pt2", rows=rows, name="m", version="2", into=tmp_path)
    assert again.rows == packaged.rows
    assert again.card.inputs == packaged.card.inputs
    assert again.card.outputs == packaged.card.outputs


def test_model_contains_no_file_paths_of_author(tmp_path: Path) -> None:
    """The exporter adds a stack trace with file paths to each operator."""
    packaged = package_model(_seeded(Words), rows=MODULES["words"][1], name="m", version="1",
                         into=tmp_path)  # fmt: skip
    content = (packaged.path / "model.onnx").read_bytes()
    assert __file__.encode() not in content
    assert b"site-packages" not in content
    assert all(node.metadata_props == [] for node in onnx.load_from_string(content).graph.node)


def test_module_in_training_mode_is_packaged_in_evaluation_mode(tmp_path: Path) -> None:
    module = _seeded(Small).train()
    packaged = package_model(module, rows=NUMBERS, name="m", version="1", into=tmp_path)
    assert packaged.differences["output"].largest < 1e-5


class Flagged(Module):  # type: ignore[misc]
    """A module with an argument that is not a tensor."""

    def forward(self, features: Any, twice: bool) -> Any:
        return features * 2 if twice else features


def test_program_with_non_tensor_argument_is_rejected(tmp_path: Path) -> None:
    program = torch.export.export(Flagged(), (torch.rand(2, 4), True))
    with pytest.raises(PackageError, match="arguments that are not tensors"):
        package_model(program, rows=NUMBERS[:2], name="m", version="1", into=tmp_path / "models")


def test_program_with_fixed_number_of_rows_rejects_others(tmp_path: Path) -> None:
    program = torch.export.export(_seeded(Small), (torch.rand(2, 4),))
    packaged = package_model(program, rows=NUMBERS[:2], name="m", version="1", into=tmp_path)
    assert packaged.card.inputs[0].shape == [2, 4]
    with pytest.raises(PackageError, match="does not accept the rows"):
        package_model(program, rows=NUMBERS, name="m", version="2", into=tmp_path)


class DependsOnValues(Module):  # type: ignore[misc]
    """A module whose control flow depends on its input, which a graph cannot represent."""

    def forward(self, features: Any) -> Any:
        return features * 2 if features.sum() > 0 else features.nonzero()


@pytest.mark.parametrize(
    ("model", "rows", "message"),
    [
        (DependsOnValues, NUMBERS, "torch.export cannot export the model"),
        (Small, NUMBERS[:, :2], "does not accept the rows"),
        (Small, {"wrong": NUMBERS}, "forward has no argument wrong; its arguments are features"),
        (Small, ["some", "words"], "they contain text"),
    ],
)
def test_module_that_cannot_be_packaged_is_rejected(
    model: Callable[[], Any], rows: Any, message: str, tmp_path: Path
) -> None:
    with pytest.raises(PackageError, match=message):
        package_model(_seeded(model), rows=rows, name="m", version="1", into=tmp_path / "models")
    assert not (tmp_path / "models").exists()


class _Payload:
    """An object that creates the file `ran` when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt2"
    torch.export.save(_exported(_seeded(Small), NUMBERS), path)
    return path


def _change(path: Path, change: Callable[[str, bytes], bytes], more: dict[str, bytes]) -> None:
    """Rewrite the archive with each member changed and more members added."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    directory = next(iter(members)).partition("/")[0]
    members |= {f"{directory}/{name}": content for name, content in more.items()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, change(name, content))


def _same(_: str, content: bytes) -> bytes:
    return content


def test_sample_inputs_are_not_unpickled(saved: Path, tmp_path: Path) -> None:
    """`torch.export.load` by itself unpickles them."""
    ran = tmp_path / "ran"
    evil = pickle.dumps(_Payload(ran))
    _change(saved, lambda name, it: evil if "sample_inputs" in name else it, {})
    with pytest.raises(PackageError, match="archive that contains a pickle"):
        package_model(saved, rows=NUMBERS, name="m", version="1", into=tmp_path / "models")
    torch.save(_Payload(ran), tmp_path / "evil.pt")
    evil = (tmp_path / "evil.pt").read_bytes()
    _change(saved, lambda name, it: evil if "sample_inputs" in name else it, {})
    package_model(saved, rows=NUMBERS, name="m", version="1", into=tmp_path / "models")
    assert not ran.exists()
    with pytest.raises(AssertionError, match="expected tuple or dict"):
        torch.export.load(saved)
    assert ran.exists()


def _replaced(old: str, new: str) -> Callable[[str, bytes], bytes]:
    def change(name: str, content: bytes) -> bytes:
        if not name.endswith(".json"):
            return content
        assert name.count("config") or old.encode() in content
        return content.replace(old.encode(), new.encode())

    return change


LINEAR = "torch.ops.aten.linear.default"
SYMBOL = "Symbol('s"


@pytest.mark.parametrize(
    ("change", "more", "message"),
    [
        (_replaced(LINEAR, "torch.os.system"), {}, "contains the unknown operator torch.os.system"),
        (_replaced(LINEAR, "torch.ops.aten.from_file.default"), {}, "from_file"),
        (_replaced(LINEAR, "_operator.attrgetter"), {}, "_operator.attrgetter"),
        (_replaced(LINEAR, "#torch.anything"), {}, "contains the unknown operator #torch.anything"),
        (_replaced(SYMBOL, "__import__('os').system('s"), {}, "contains the unknown dimension"),
        (_replaced(SYMBOL, "9**9**9**9+Symbol('s"), {}, "contains the unknown dimension"),
        (
            lambda name, it: it.replace(b'"use_pickle": false', b'"use_pickle": true'),
            {},
            "is a pickle",
        ),
        (
            lambda name, it: it.replace(b'"path_name": "tensor_0"', b'"path_name": "opaque_obj_0"'),
            {},
            "is not a tensor",
        ),
        (_same, {"data/constants/custom_obj_0": b"PK"}, "custom_obj_0, which may be code"),
        (_same, {"data/aotinductor/model/m.so": b"ELF"}, "m.so, which may be code"),
        (_same, {"data/weights/model.pt": b"x"}, "model.pt, which may be code"),
        (_same, {"models/other.json": b"{}"}, "contains 2 exported programs"),
    ],
)
def test_file_that_could_run_code_is_rejected(
    change: Callable[[str, bytes], bytes],
    more: dict[str, bytes],
    message: str,
    saved: Path,
    tmp_path: Path,
) -> None:
    _change(saved, change, more)
    with pytest.raises(PackageError, match=message):
        package_model(saved, rows=NUMBERS, name="m", version="1", into=tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_guards_are_not_compiled(saved: Path, tmp_path: Path) -> None:
    def with_guard(name: str, content: bytes) -> bytes:
        if not name.endswith("models/model.json"):
            return content
        ran = f"__import__('pathlib').Path({str(tmp_path / 'ran')!r}).touch() or True"
        return json.dumps(json.loads(content) | {"guards_code": [ran]}).encode()

    _change(saved, with_guard, {})
    package_model(saved, rows=NUMBERS, name="m", version="1", into=tmp_path / "models")
    assert not (tmp_path / "ran").exists()


def _truncated(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _state_dict(path: Path) -> None:
    torch.save(_seeded(Small).state_dict(), path)


def _empty_archive(path: Path) -> None:
    zipfile.ZipFile(path, "w").close()


def _no_json(path: Path) -> None:
    _change(path, lambda name, it: b"{" if name.endswith(".json") else it, {})


def _short_weights(path: Path) -> None:
    _change(path, lambda name, it: it[:8] if name.endswith("weight_0") else it, {})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_truncated, "damaged|contains a pickle"),  # The rest ends like the archive of the samples.
        (_state_dict, "contains a pickle"),
        (_empty_archive, "contains 0 exported programs|not an exported PyTorch program"),
        (_no_json, "or damaged"),
        (_short_weights, "cannot read the file"),
    ],
)
def test_invalid_program_file_is_rejected(
    damage: Callable[[Path], None], message: str, saved: Path, tmp_path: Path
) -> None:
    damage(saved)
    with pytest.raises(PackageError, match=message):
        package_model(saved, rows=NUMBERS, name="m", version="1", into=tmp_path / "models")
    assert not (tmp_path / "models").exists()


def test_command_packages_file(saved: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "rows.npy", NUMBERS)
    arguments = ["--name", "m", "--version", "1", "--into", str(tmp_path / "models")]
    arguments += ["--rows", str(tmp_path / "rows.npy"), "--json"]
    result = CliRunner().invoke(main, ["package", str(saved), *arguments])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["rows_compared"] == len(NUMBERS)
    assert read_card(tmp_path / "models" / "m" / "1").source.framework == "pytorch"
