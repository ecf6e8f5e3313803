"""The private key of commands that sign, and its passphrase."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from berth.signing.private_key import PrivateKey

KEY_HELP = (
    "PEM file of the ECDSA private key that signs. The passphrase of an encrypted key comes from "
    "BERTH_SIGNING_PASSPHRASE or a prompt."
)


def load_key(path: Path) -> "PrivateKey":
    """Load a private key, and prompt for its passphrase if needed.

    Raises:
        SignatureError: If the key cannot be used.
    """
    from berth.signing.private_key import PASSPHRASE, load_private_key

    def ask() -> str | None:
        if passphrase := os.environ.get(PASSPHRASE):
            return passphrase
        if not sys.stdin.isatty():
            return None
        answer: str = click.prompt(f"Passphrase of {path}", hide_input=True, err=True)
        return answer

    return load_private_key(path, ask)
