"""AWS, emulated on this machine: moto with additions that the real provider needs."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import httpx

from tests.repository import REPOSITORY

REGION = "us-east-1"
ACCOUNT = "123456789012"
_START_SECONDS = 60.0
_PROVIDER = "pulumi-resource-aws"
_EMULATOR = "moto-aws"


def skip_reason() -> str | None:
    """Return why the aws tests cannot run here, or None if they can."""
    for program in ("pulumi", _PROVIDER, _EMULATOR):
        if shutil.which(program) is None:
            return f"{program} is not on the PATH; the real provider with emulated AWS needs it"
    if importlib.util.find_spec("moto") is None:
        return "moto is not installed. Run `python -m pip install -r requirements-dev.txt`."
    return None


@dataclass(frozen=True)
class Emulation:
    """Emulated AWS on a loopback port.

    Attributes:
        url: Address of the emulator.
        recording: File with the requests that it received, one on each line.
    """

    url: str
    recording: Path

    def client(self, service: str, region: str = REGION) -> Any:
        """Return a boto3 client."""
        return boto3.client(
            service, region_name=region, endpoint_url=self.url,
            aws_access_key_id="test", aws_secret_access_key="test",
        )  # fmt: skip

    def reset(self) -> None:
        """Delete every resource."""
        httpx.post(f"{self.url}/moto-api/reset", timeout=_START_SECONDS).raise_for_status()

    def create_role(self, name: str) -> str:
        """Create an IAM role that a test refers to, and return its ARN."""
        iam = self.client("iam")
        if name not in [role["RoleName"] for role in iam.list_roles()["Roles"]]:
            trust = json.dumps({"Version": "2012-10-17", "Statement": []})
            iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)
        return f"arn:aws:iam::{ACCOUNT}:role/{name}"

    def eks_changes(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the changes of EKS since the last reset: path below `clusters/`, and body."""
        changes = httpx.get(f"{self.url}/strict/eks-changes", timeout=_START_SECONDS).json()
        return [(path, body) for path, body in changes]

    def environment(self) -> dict[str, str]:
        """Return environment variables that point AWS SDKs to the emulator."""
        return {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        }

    def config(self) -> dict[str, str]:
        """Return the provider's configuration for the emulator."""
        return {
            "aws:region": REGION,
            "aws:accessKey": "test",
            "aws:secretKey": "test",
            "aws:skipCredentialsValidation": "true",
            "aws:skipMetadataApiCheck": "true",
            "aws:skipRegionValidation": "true",
            "aws:s3UsePathStyle": "true",
            "aws:maxRetries": "2",
            # S3 Control uses a host name with the account ID, which does not resolve.
            "aws:httpProxy": self.url,
        }


@contextmanager
def emulated(log: Path) -> Iterator[Emulation]:
    """Run the emulator on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    program = shutil.which(_EMULATOR)
    assert program is not None
    recording = log.with_suffix(".requests")
    recording.touch()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.aws.emulator", program, str(port), str(recording)],
            cwd=REPOSITORY,
            stdout=output, stderr=output, stdin=subprocess.DEVNULL, env=_environment_without_aws(),
        )  # fmt: skip
    try:
        _wait_until_ready(url, process, log)
        yield Emulation(url, recording)
    finally:
        process.terminate()
        process.wait(timeout=30)


def _environment_without_aws() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("AWS_")}


def _wait_until_ready(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"The emulator exited: {log.read_text()[-2000:]}")
        try:
            httpx.get(f"{url}/moto-api/", timeout=5)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"The emulator does not respond: {log.read_text()[-2000:]}")
