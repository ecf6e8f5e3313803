"""`require_signature` on a stack that runs: what each platform refuses before anything changes."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from berth_protocol.model_card import read_card
from tests.engine.project import Project
from tests.unit.signing_keys import create_key, public_pem, sign_directory, write_key

TRUSTED = "keys/release.pub"
_REJECTED = 2


@dataclass(frozen=True)
class Signer:
    """The key of a team, and where its public part is in the project.

    Attributes:
        key: The private key.
        private: Its file, outside the project.
    """

    key: ec.EllipticCurvePrivateKey
    private: Path

    @classmethod
    def create(cls, project: Project, directory: Path) -> "Signer":
        """Create a key pair, and publish the public key in the project."""
        key = create_key()
        public = project.root / TRUSTED
        public.parent.mkdir(exist_ok=True)
        public.write_text(public_pem(key))
        return cls(key, write_key(directory / "signing.key", key))


def require_signatures(config: Any) -> None:
    """Let a stack trust only the key in the project."""
    config["berth:require_signature"] = [TRUSTED]


def refuse(project: Project, *reasons: str, command: tuple[str, ...] = ("up", "--yes")) -> None:
    """Check that a command is rejected for all reasons before the engine starts."""
    refused = project.berth(*command, code=_REJECTED)
    for reason in reasons:
        assert reason in refused.stderr, refused.stderr


def sign_versions_one_by_one(
    project: Project, signer: Signer, versions: list[tuple[str, str]]
) -> None:
    """Sign versions, the first as a user does wrong before it is right.

    Before, the stack requires signatures. The signatures of an earlier test are deleted.
    """
    for model, version in versions:
        (project.root / "models" / model / f"{version}.sig").unlink(missing_ok=True)
    (model, version), *others = versions
    directory = project.root / "models" / model / version
    refuse(project, *(f"models/{name}/{each} is not signed" for name, each in versions))
    for name, each in others:
        # The command takes seconds for each.
        sign_directory(project.root / "models" / name / each, signer.key)
    sign_directory(directory, create_key())
    refuse(project, f"berth:models.{model}.versions.{version}", "was signed by another key")
    project.berth("sign", model, version, "--key", str(signer.private), "--replace")
    with _changed_model(directory):
        refuse(project, f"models/{model}/{version} differs from what was signed")


@contextmanager
def _changed_model(directory: Path) -> Iterator[None]:
    """Change a byte of a model and its card, as somebody can who packages and does not sign."""
    files = [directory / "model.onnx", directory / "model.yaml"]
    model, card = before = [path.read_bytes() for path in files]
    changed = model[:-1] + bytes([model[-1] ^ 1])
    old = read_card(directory).files["model.onnx"]
    new = f"sha256:{hashlib.sha256(changed).hexdigest()}"
    files[0].write_bytes(changed)
    files[1].write_bytes(card.replace(old.encode(), new.encode()))
    try:
        yield
    finally:
        for path, data in zip(files, before, strict=True):
            path.write_bytes(data)
