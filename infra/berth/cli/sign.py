"""`berth sign`."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from berth.cli.options import json_option, say, show
from berth.cli.signing_key import KEY_HELP, load_key
from berth.project import find_project, version_directory

if TYPE_CHECKING:
    from berth.signing.version import SignedVersion


@click.command()
@click.argument("model")
@click.argument("version")
@click.option("--key", type=click.Path(dir_okay=False, path_type=Path), help=KEY_HELP)
@click.option(
    "--sigstore",
    is_flag=True,
    help="Sign with an identity of Sigstore instead of a key. Needs the internet.",
)
@click.option(
    "--path",
    help="Directory of the version, relative to the project. Defaults to models/MODEL/VERSION.",
)
@click.option("--replace", "replaces", is_flag=True, help="Replace a signature that exists.")
@json_option
def sign(
    model: str,
    version: str,
    key: Path | None,
    sigstore: bool,
    path: str | None,
    replaces: bool,
    as_json: bool,
) -> None:
    """Sign a model version in the OpenSSF model-signing format.

    The signature is the file VERSION.sig next to the directory of the version. It covers every
    file. Stacks that set 'berth:require_signature' or 'berth:trusted_identities' deploy only
    versions with a trusted signature.
    """
    if (key is None) == (not sigstore):
        raise click.UsageError("Set one of --key and --sigstore.")
    from berth.packaging.names import check_name, check_version

    check_name(model)
    check_version(version)
    directory = version_directory(find_project(), model, version, path)
    private = None if key is None else load_key(key)
    from berth.signing.version import sign_version

    say(f"Signing {model} {version}")
    document = describe(sign_version(directory, private, replaces=replaces))
    show(document, as_json, lambda: format_text(document))


def describe(signed: "SignedVersion") -> dict[str, Any]:
    """Return a signature as a JSON document."""
    return {
        "path": str(signed.path),
        "digest": signed.digest,
        "key": signed.fingerprint,
        "changed": signed.changed,
    }


def format_text(document: dict[str, Any]) -> str:
    """Return a signature as text."""
    signer = f"key {document['key'][:12]}" if document["key"] else "an identity of Sigstore"
    action = "Signed" if document["changed"] else "Unchanged:"
    return f"{action} {document['path']}: {document['digest']} by {signer}"
