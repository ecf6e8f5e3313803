"""A request takes memory in proportion to its body, whatever the body contains.

A berth of the sample may use 256 MiB, of which the program takes about 80 MiB.
"""

import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from onnx import helper

from tests.serving.berth import Berth, run_berth, write_model
from tests.serving.process_memory import read_memory, reset_peak

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, which Linux has")

_BODY_BYTES = 10 << 20
_MAX_GROWTH = 9 * _BODY_BYTES
"""The body arrives in a buffer of twice its length. Then there are the body, its data, the data
without brackets, and the tensor, which has 4 bytes for every 2 characters of `1,`."""


@pytest.fixture(scope="module")
def berth(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Berth]:
    """A berth with a model that has an input of numbers and an input of texts."""
    directory = tmp_path_factory.mktemp("model")
    model = write_model(
        directory / "model",
        [helper.make_node("Identity", ["x"], ["y"]), helper.make_node("Identity", ["s"], ["t"])],
        [("x", "FP32", ["rows", "k"]), ("s", "BYTES", ["rows", "k"])],
        [("y", "FP32", ["rows", "k"]), ("t", "BYTES", ["rows", "k"])],
        {
            "inputs": [
                {"name": "x", "datatype": "FP32", "shape": [1, 1], "data": [1.0]},
                {"name": "s", "datatype": "BYTES", "shape": [1, 1], "data": ["a"]},
            ]
        },
    )
    with run_berth(model, directory / "log") as berth:
        yield berth


def _fill(start: str, item: str, end: str, *, wrap: tuple[str, str] = ("", "")) -> bytes:
    """Return a body of about `_BODY_BYTES` that repeats an item, without the last comma."""
    count = (_BODY_BYTES - len(start) - len(end) - 200) // len(item.encode())
    text = item * count
    return f"{wrap[0]}{start}{text.rstrip(',')}{end}{wrap[1]}".encode()


def _input(name: str, datatype: str, shape: str, data: str) -> str:
    return f'{{"name":"{name}","datatype":"{datatype}","shape":{shape},"data":{data}'


_X = '{"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":'
_S = '{"inputs":[{"name":"s","datatype":"BYTES","shape":[1,1],"data":'
_VALID = (
    '"inputs":[{"name":"x","datatype":"FP32","shape":[1,1],"data":[1]},'
    '{"name":"s","datatype":"BYTES","shape":[1,1],"data":["a"]}]'
)


def _many_keys(start: str, end: str) -> bytes:
    keys = ",".join(f'"k{number}":1' for number in range(600_000))
    return (start + keys + end).encode()


_BODIES: dict[str, Callable[[], bytes]] = {
    "empty arrays": lambda: _fill(_X + "[", "[],", "]}]}"),
    "empty arrays as texts": lambda: _fill(_S + "[", "[],", "]}]}"),
    "arrays of one number": lambda: _fill(_X + "[", "[1],", "]}]}"),
    "arrays of one text": lambda: _fill(_S + "[", '["a"],', "]}]}"),
    "numbers": lambda: _fill(_X + "[", "1,", "]}]}"),
    "large numbers": lambda: _fill(_X + "[", "1e30,", "]}]}"),
    "nulls": lambda: _fill(_X + "[", "null,", "]}]}"),
    "objects as data": lambda: _fill(_X + "[", "{},", "]}]}"),
    "texts as numbers": lambda: _fill(_X + "[", '"",', "]}]}"),
    "short texts": lambda: _fill(_S + "[", '"ab",', "]}]}"),
    "one long text": lambda: (
        _fill(_X, "x", "}]}", wrap=("", ""))
        .replace(b'"data":x', b'"data":"x')
        .replace(b"x}]}", b'x"}]}')
    ),
    "deep arrays": lambda: (_X + "[" * 5_000_000 + "]" * 5_000_000 + "}]}").encode(),
    "open arrays": lambda: (_X + "[" * _BODY_BYTES)[:_BODY_BYTES].encode(),
    "inputs": lambda: _fill('{"inputs":[', _input("x", "FP32", "[1,1]", "[1]") + "},", "]}"),
    "empty inputs": lambda: _fill('{"inputs":[', "{},", "]}"),
    "null inputs": lambda: _fill('{"inputs":[', "null,", "]}"),
    "outputs": lambda: _fill("{" + _VALID + ',"outputs":[', '{"name":"y"},', "]}"),
    "empty outputs": lambda: _fill("{" + _VALID + ',"outputs":[', "{},", "]}"),
    "shape": lambda: _fill(
        '{"inputs":[{"name":"x","datatype":"FP32","data":[1],"shape":[', "300,", "]}]}"
    ),
    "name": lambda: _fill(
        '{"inputs":[{"datatype":"FP32","shape":[1,1],"data":[1],"name":"', "n", '"}]}'
    ),
    "datatype": lambda: _fill(
        '{"inputs":[{"name":"x","shape":[1,1],"data":[1],"datatype":"', "n", '"}]}'
    ),
    "id": lambda: _fill("{" + _VALID + ',"id":"', "é", '"}'),
    "parameters": lambda: _many_keys("{" + _VALID + ',"parameters":{', "}}"),
    "input parameters": lambda: _many_keys(_X + '[1],"parameters":{', "}}]}"),
    "output parameters": lambda: _many_keys(
        "{" + _VALID + ',"outputs":[{"name":"y","parameters":{', "}}]}"
    ),
}


@pytest.mark.parametrize("content", _BODIES)
def test_invalid_long_request_takes_memory_in_proportion_to_body(
    berth: Berth, content: str
) -> None:
    start = reset_peak(berth)
    response = berth.infer(_BODIES[content]())
    growth = read_memory(berth, "VmHWM") - start
    assert response.status_code == 400
    assert len(response.content) < 2000
    assert growth < _MAX_GROWTH


@pytest.mark.parametrize(
    "content", ["unknown fields", "repeated fields", "nested unknown field", "spaces"]
)
def test_ignored_part_takes_no_memory(berth: Berth, content: str) -> None:
    body = {
        "unknown fields": _many_keys("{" + _VALID + ",", "}"),
        "repeated fields": _fill("{", '"inputs":[],', "", wrap=("", "," + _VALID + "}")),
        "nested unknown field": _fill("{" + _VALID + ',"unknown":[', "[{}],", "]}"),
        "spaces": _fill("{" + _VALID, " ", "}"),
    }[content]
    start = reset_peak(berth)
    response = berth.infer(body)
    assert response.status_code == 200
    assert read_memory(berth, "VmHWM") - start < _MAX_GROWTH


@pytest.mark.parametrize("form", ["flat", "nested", "nested rows"])
def test_long_numbers_and_texts_are_exact(berth: Berth, form: str) -> None:
    """Long data is decoded in pieces."""
    rows, columns = 500, 211
    numbers = np.random.default_rng(1).normal(size=(rows, columns)).astype(np.float32)
    pieces = ["a", "[", "]", ",", '"', "\\", '\\"', "{", "é☃👍", "\n", ", [", "", '],["']
    texts = [
        [pieces[(i * 7 + j) % len(pieces)] * (j % 3) for j in range(columns)] for i in range(rows)
    ]
    flat_numbers, flat_texts = numbers.ravel().tolist(), [text for row in texts for text in row]
    shape = [rows, columns]
    nested: list[object] = [numbers.tolist(), texts]
    data = [flat_numbers, flat_texts] if form == "flat" else nested
    request = {
        "inputs": [
            {"name": "x", "datatype": "FP32", "shape": shape, "data": data[0]},
            {"name": "s", "datatype": "BYTES", "shape": shape, "data": data[1]},
        ]
    }
    indent = 1 if form == "nested rows" else None
    response = berth.infer(json.dumps(request, indent=indent).encode())
    assert response.status_code == 200, response.text
    outputs = response.json()["outputs"]
    assert np.array(outputs[0]["data"], np.float32).tobytes() == numbers.tobytes()
    assert outputs[1]["data"] == flat_texts


@pytest.mark.parametrize(
    ("shape", "text", "expected"),
    [
        ("[2,50000]", "[" + "1," * 99_998 + "1]", "has 99999 elements"),
        ("[2,50000]", "[" + "1," * 99_999 + "true]", "not FP32"),
        ("[2,50000]", "[" + "1," * 99_999 + "1e39]", "out of range"),
        ("[2,50000]", "[" + "1," * 99_999 + "[1]]", "neither a flat array nor nested"),
        ("[2,50000]", "[[" + "1," * 49_998 + "1],[" + "1," * 50_000 + "1]]", "neither a flat"),
        ("[2,50000]", "[" + "[1]," * 99_999 + "[1]]", "neither a flat"),
        ("[0,50000]", "[" + "[]," * 99_999 + "[]]", "neither a flat"),
        ("[100000,0]", "[" + "[]," * 99_999 + "[]]", "100000 rows"),
        ("[2,50000]", '"' + "[1],x" * 50_000 + '"', "data"),
        ("[2,50000]", '{"a":[' + "1," * 99_999 + "1]}", "data"),
    ],
)
def test_long_data_that_differs_from_shape_is_rejected(
    berth: Berth, shape: str, text: str, expected: str
) -> None:
    body = '{"inputs":[' + _input("x", "FP32", shape, text) + "}]}"
    response = berth.infer(body.encode())
    assert response.status_code in (400, 413)
    assert expected in response.json()["error"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[" + '"a",' * 50_000 + '"a"]', "has 50001 elements"),
        ("[" + '"a",' * 49_999 + "1]", "not BYTES"),
        ("[" + '"a",' * 49_999 + "null]", "not BYTES"),
        ("[" + '"a",' * 49_999 + '["a"]]', "neither a flat"),
        ('[["' + "[" * 100_000 + '"]]', "data"),
    ],
)
def test_long_texts_that_differ_from_shape_are_rejected(
    berth: Berth, text: str, expected: str
) -> None:
    body = '{"inputs":[' + _input("s", "BYTES", "[1,50000]", text) + "}]}"
    response = berth.infer(body.encode())
    assert response.status_code == 400
    assert expected in response.json()["error"]


@pytest.mark.slow
def test_health_checks_respond_while_long_request_is_decoded(berth: Berth) -> None:
    """A long request is decoded in a thread, so several checks complete before it."""
    checks = 0
    body = _fill(_X.replace("[1,1]", "[1,5242500]") + "[", "1,", "]}]}")
    with ThreadPoolExecutor(1) as pool, berth.create_client() as client:
        responses = [pool.submit(berth.infer, body) for _ in range(5)]
        while not responses[-1].done():
            assert client.get("/v2/health/ready").status_code == 200
            checks += 1
    assert checks > len(responses)
