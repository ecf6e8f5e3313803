"""Servers that a berth is compared with: `python -m benchmarks.serving_peers bare|naive`.

- bare: an ASGI application on the same HTTP server that decodes, runs and encodes without checks.
- naive: a first implementation with FastAPI, pydantic lists and a session in a thread.
"""

import os
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import fastapi
import msgspec
import numpy as np
import onnxruntime
import orjson
import pydantic
import uvicorn

_OPTIONS = onnxruntime.SessionOptions()
_OPTIONS.intra_op_num_threads = 1
_SESSION = onnxruntime.InferenceSession(
    os.environ["BERTH_MODEL_DIR"] + "/model.onnx", _OPTIONS, providers=["CPUExecutionProvider"]
)


async def bare(
    _scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
) -> None:
    """Decode the request, run the model in the event loop, and encode the response."""
    message = await receive()
    body = message["body"]
    while message["more_body"]:
        message = await receive()
        body += message["body"]
    tensor = msgspec.json.decode(body)["inputs"][0]
    array = np.array(tensor["data"], np.float32).reshape(tensor["shape"])
    output = _SESSION.run(None, {"x": array})[0]
    response = orjson.dumps(
        {
            "model_name": "m",
            "outputs": [
                {
                    "name": "y",
                    "datatype": "FP32",
                    "shape": list(np.shape(output)),
                    "data": np.ravel(output),
                }
            ],
        },
        option=orjson.OPT_SERIALIZE_NUMPY,
    )
    headers = [
        (b"content-type", b"application/json"),
        (b"content-length", str(len(response)).encode()),
    ]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": response})


def naive() -> Any:
    """Return a FastAPI application."""

    class Tensor(pydantic.BaseModel):
        name: str
        shape: list[int]
        datatype: str
        data: list[float]

    class Request(pydantic.BaseModel):
        inputs: list[Tensor]

    app = fastapi.FastAPI()

    @app.post("/v2/models/m/infer")
    def infer(request: Request) -> dict[str, Any]:
        tensor = request.inputs[0]
        array = np.array(tensor.data, np.float32).reshape(tensor.shape)
        output = np.asarray(_SESSION.run(None, {"x": array})[0])
        described = {"name": "y", "datatype": "FP32", "shape": list(output.shape)}
        return {"model_name": "m", "outputs": [{**described, "data": output.ravel().tolist()}]}

    return app


if __name__ == "__main__":
    uvicorn.run(
        bare if sys.argv[1] == "bare" else naive(),
        port=int(os.environ["BERTH_PORT"]),
        loop="uvloop",
        http="httptools",
        lifespan="off",
        log_level="error",
        access_log=False,
    )
