"""Required signatures of the versions that a hosting component serves."""

from collections.abc import Iterator, Mapping, Sequence

from pulumi_berth.component_args import ArgumentError
from pulumi_berth.hosted_models import HostedModelArgs, find_model_dir
from pulumi_berth.signing.errors import SignatureError

_UNCHECKED = "is an image, whose signature the component does not check; remove it, or trusted_keys"


def check_signatures(
    models: Mapping[str, HostedModelArgs], trusted_keys: Sequence[str] | None
) -> None:
    """Check that one of the trusted keys signed each version, if there are any.

    Args:
        models: Models that `check_models` has accepted.
        trusted_keys: Public keys in PEM format.

    Raises:
        ArgumentError: With all problems.
    """
    if problems := list(_find_problems(models, trusted_keys or ())):
        raise ArgumentError(problems)


def _find_problems(
    models: Mapping[str, HostedModelArgs], trusted_keys: Sequence[str]
) -> Iterator[tuple[str, str]]:
    if not trusted_keys:
        return
    # Only needed by programs that require signatures, and slow to import.
    from pulumi_berth.signing.bundle import verify_version
    from pulumi_berth.signing.keys import PublicKey, parse_public_key

    keys: list[PublicKey] = []
    for number, pem in enumerate(trusted_keys):
        try:
            keys.append(parse_public_key(pem))
        except SignatureError as error:
            yield f"trusted_keys[{number}]", str(error)
    if not keys:
        return
    for name, model in models.items():
        for version, entry in model.versions.items():
            path = f"models.{name}.versions.{version}"
            for key in ("image", "container"):
                if getattr(entry, key) is not None:
                    yield f"{path}.{key}", _UNCHECKED
            if entry.directory is None:
                continue
            try:
                verify_version(find_model_dir(entry.directory), keys)
            except SignatureError as error:
                yield f"{path}.directory", str(error)
