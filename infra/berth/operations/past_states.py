"""What an earlier update deployed, from the copies of the state that the backend keeps.

A backend in a directory or in an S3 bucket keeps the state after each update next to its entry in
the history: pkg/backend/diy/state.go of Pulumi. The engine has no command that reads them.
"""

import gzip
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from berth.engine.environment import find_state_directory
from berth.operations.state_file import UnexpectedError, list_resources, read_outputs
from berth.project import read_project_name

_ENTRY = ".history.json"
_COPY = ".checkpoint.json"
_COMPRESSED = ".gz"


@dataclass(frozen=True)
class PastState:
    """The state after an update.

    Attributes:
        outputs: The stack's outputs, with secrets hidden.
        resources: The resources; see `state_file.list_resources`.
    """

    outputs: Mapping[str, Any]
    resources: list[dict[str, Any]]


def read_past_state(root: Path, stack: str, number: int) -> PastState | None:
    """Return the state after update `number`, or None if the backend does not have it.

    Only the engine can read other backends, and states that it has encrypted as a whole.
    """
    try:
        folder = f".pulumi/history/{read_project_name(root)}/{stack}"
        directory = find_state_directory(root)
        data = (
            _read_from_bucket(os.environ.get("PULUMI_BACKEND_URL", ""), folder, number)
            if directory is None
            else _read_from_directory(directory / folder, number)
        )
        if data is None:
            return None
        checkpoint = json.loads(data)
        return PastState(
            outputs=read_outputs(checkpoint),
            resources=list_resources(checkpoint["checkpoint"]["latest"]),
        )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, UnexpectedError):
        return None


def _read_from_directory(directory: Path, number: int) -> bytes | None:
    name = _choose([path.name for path in directory.iterdir()], number)
    return None if name is None else _unpack((directory / name).read_bytes(), name)


def _read_from_bucket(url: str, folder: str, number: int) -> bytes | None:
    parts = urlsplit(url)
    if parts.scheme != "s3":
        return None
    import boto3
    from botocore.exceptions import BotoCoreError, ClientError

    region = parse_qs(parts.query).get("region", [None])[0]
    prefix = "/".join(part for part in (parts.path.strip("/"), folder) if part) + "/"
    try:
        client = boto3.client("s3", region_name=region)
        pages = client.get_paginator("list_objects_v2").paginate(Bucket=parts.netloc, Prefix=prefix)
        keys = [entry["Key"] for page in pages for entry in page.get("Contents", ())]
        name = _choose([key.removeprefix(prefix) for key in keys], number)
        if name is None:
            return None
        stored = client.get_object(Bucket=parts.netloc, Key=f"{prefix}{name}")
        return _unpack(stored["Body"].read(), name)
    except (BotoCoreError, ClientError):
        return None


def _choose(names: list[str], number: int) -> str | None:
    """Return the name of the copy that belongs to the entry `number` of the history."""
    entries = sorted(name for name in names if name.removesuffix(_COMPRESSED).endswith(_ENTRY))
    if not 1 <= number <= len(entries):
        return None
    wanted = entries[number - 1].removesuffix(_COMPRESSED).removesuffix(_ENTRY) + _COPY
    return next((name for name in (wanted, wanted + _COMPRESSED) if name in names), None)


def _unpack(data: bytes, name: str) -> bytes:
    return gzip.decompress(data) if name.endswith(_COMPRESSED) else data
