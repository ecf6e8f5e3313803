"""The gateway compares a shadow's answer with the client's: the decision of the first row."""

import json
import struct
from typing import Any

import pytest

from berth_gateway.answers import MAX_COMPARED_BYTES, Answer, compare_answers, read_json_length
from tests.gateway.fake_berth import FakeBerth
from tests.gateway.gateway_process import GatewayProcess, build_config, build_model, wait_until


def build_output(name: str, datatype: str, shape: list[int], data: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "data": data}


def build_answer(*outputs: dict[str, Any], **more: Any) -> Answer:
    return Answer(json.dumps({"model_name": "m", "outputs": outputs, **more}).encode())


def build_binary_answer(datatype: str, shape: list[int], data: bytes) -> Answer:
    output = {
        "name": "x",
        "datatype": datatype,
        "shape": shape,
        "parameters": {"binary_data_size": len(data)},
    }
    head = json.dumps({"outputs": [output]}).encode()
    return Answer(head + data, len(head))


LABEL = build_output("label", "INT64", [2], [3, 5])
SCORES = build_output("scores", "FP32", [2, 2], [0.9, 0.1, 0.2, 0.8])


def test_with_labels_only_the_labels_count() -> None:
    other_scores = build_output("scores", "FP32", [2, 2], [0.6, 0.4, 0.2, 0.8])
    one = build_answer(LABEL, SCORES, model_version="1")
    assert compare_answers(one, build_answer(LABEL, other_scores, model_version="2")) == "equal"
    other_label = build_output("label", "INT64", [2], [4, 5])
    assert compare_answers(one, build_answer(other_label, SCORES)) == "different"


@pytest.mark.parametrize(
    ("data", "outcome"),
    [
        ([0.9, 0.1], "equal"),
        ([0.905, 0.1005], "equal"),
        ([0.92, 0.1], "different"),
        ([0.9, None], "different"),
    ],
)
def test_without_labels_numbers_are_equal_within_one_percent(data: Any, outcome: str) -> None:
    one = build_answer(build_output("y", "FP32", [1, 2], [0.9, 0.1]))
    assert compare_answers(one, build_answer(build_output("y", "FP32", [1, 2], data))) == outcome


def test_only_the_first_row_counts() -> None:
    one = build_answer(build_output("y", "FP64", [2, 2], [1, 2, 3, 4]))
    assert compare_answers(one, build_answer(build_output("y", "FP64", [2, 2], [1, 2, 9, 9]))) == (
        "equal"
    )
    nested = build_answer(build_output("y", "FP64", [2, 2], [[1, 2], [3, 4]]))
    assert compare_answers(one, nested) == "equal"


def test_other_outputs_are_different() -> None:
    assert compare_answers(build_answer(LABEL), build_answer(LABEL, SCORES)) == "different"
    text = build_output("label", "BYTES", [2], ["3", "5"])
    assert compare_answers(build_answer(LABEL), build_answer(text)) == "different"


@pytest.mark.parametrize(
    ("datatype", "data", "close", "other"),
    [
        ("FP32", struct.pack("<2f", 1, 2), struct.pack("<2f", 1.001, 2), struct.pack("<2f", 5, 2)),
        ("FP16", struct.pack("<2e", 1, 2), struct.pack("<2e", 1.001, 2), struct.pack("<2e", 5, 2)),
        ("INT64", struct.pack("<2q", 1, 2), struct.pack("<2q", 1, 2), struct.pack("<2q", 1, 3)),
        ("BF16", b"\x80\x3f\x00\x40", b"\x81\x3f\x00\x40", b"\x00\x40\x00\x40"),
        ("BYTES", b"\x01\0\0\0a\x02\0\0\0bc", b"\x01\0\0\0a\x02\0\0\0bc", b"\x01\0\0\0b\0\0\0\0"),
    ],
)
def test_binary_tensors_are_compared(
    datatype: str, data: bytes, close: bytes, other: bytes
) -> None:
    one = build_binary_answer(datatype, [1, 2], data)
    assert compare_answers(one, build_binary_answer(datatype, [1, 2], close)) == "equal"
    assert compare_answers(one, build_binary_answer(datatype, [1, 2], other)) == "different"


@pytest.mark.parametrize(
    "answer",
    [
        Answer(b""),
        Answer(b"{"),
        Answer(b"[]"),
        Answer(b'{"outputs": [{"name": "x"}]}'),
        Answer(b'{"outputs": [{"name": "x", "datatype": "FP32", "shape": [1]}]}'),
        Answer(b'{"outputs": []}', 4000),
        Answer(b"{}", -1),
        Answer(b" " * (MAX_COMPARED_BYTES + 1)),
        build_answer(build_output("x", "FP32", [1], json.loads("[" * 40 + "1" + "]" * 40))),
        build_binary_answer("FP32", [1], b"123"),
        build_binary_answer("FP8", [1], b"1"),
        build_binary_answer("BYTES", [1], b"\xff\xff\xff\xff"),
        Answer(
            b'{"outputs":[{"name":"x","datatype":"FP32","shape":[1],'
            b'"parameters":{"binary_data_size":-4}}]}'
        ),
    ],
)
def test_answer_that_cannot_be_read_is_skipped(answer: Answer) -> None:
    assert compare_answers(answer, build_answer(LABEL)) == "skipped"
    assert compare_answers(build_answer(LABEL), answer) == "skipped"


def test_compressed_answers_and_bad_lengths_are_not_read() -> None:
    assert read_json_length({}) is None
    assert read_json_length({"inference-header-content-length": "12"}) == 12
    assert read_json_length({"inference-header-content-length": "x"}) == -1
    assert read_json_length({"content-encoding": "gzip"}) == -1


def test_gateway_counts_equal_and_different_answers(
    gateway: GatewayProcess, berth_1: FakeBerth, berth_2: FakeBerth
) -> None:
    one, other = build_answer(LABEL).body, build_answer(SCORES).body
    berth_1.respond = lambda handler, _: handler.send(200, one)
    berth_2.respond = lambda handler, request: handler.send(
        200, one if b"equal" in request.body else other
    )
    routes = build_model({"1": berth_1.url, "2": berth_2.url}, {"1": 100, "2": 0}, shadow="2")
    gateway.start(build_config(models={"digits": routes}))

    def count(outcome: str) -> float:
        labels = f'model="digits",outcome="{outcome}",version="2"'
        return gateway.get_metric(f"berth_gateway_shadow_compared_total{{{labels}}}")

    with gateway.client() as http:
        for kind in ("equal", "equal", "other", "equal"):
            response = http.post("/v2/models/digits/infer", content=kind.encode())
            assert response.content == one
        wait_until(lambda: count("equal") == 3, "three equal answers")
        wait_until(lambda: count("different") == 1, "one other answer")
        # A failed request has no answer to compare with.
        berth_1.respond = lambda handler, _: handler.send(500, b"{}")
        http.post("/v2/models/digits/infer", content=b"equal")
        berth_1.respond = lambda handler, _: handler.send(200, b"not JSON")
        http.post("/v2/models/digits/infer", content=b"equal")
        wait_until(lambda: count("skipped") == 1, "one skipped answer")
    assert count("equal") == 3
