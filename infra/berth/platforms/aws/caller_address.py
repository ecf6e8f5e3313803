"""Records the address of the machine that runs the first `up` in the stack's configuration.

The address is written to the file, and not looked up in each update: a preview on another machine
would otherwise show a change, and an update from there would lock the first machine out.
"""

import io
import re

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from berth.platforms.aws.access import require_credentials
from berth.platforms.aws.reach import ADDRESS_URL, find_public_address
from berth.platforms.stack_context import StackContext
from berth.spec import SpecError
from pulumi_berth.files import replace_atomically

_KEY = "berth:cluster.public_cidrs"
_EMPTY_ENTRY = re.compile(r"\s*public_cidrs:\s*(\[\s*\]|null|~)?(?P<rest>\s*(#.*)?\n?)")


def record_caller_address(context: StackContext) -> list[str]:
    """Write this machine's address to `cluster.public_cidrs` if the public endpoint admits none.

    Returns:
        One line if the file was changed.

    Raises:
        SpecError: If AWS accepts no credentials, or the address cannot be found out.
    """
    cluster = context.spec.cluster
    if (
        cluster.endpoint != "public_and_private"
        or cluster.public_cidrs
        or context.spec.kubernetes.kubeconfig is not None
    ):
        return []
    # Without credentials, nothing can be deployed, so the file stays as it is.
    require_credentials(context.spec.aws)
    path = context.root / f"Pulumi.{context.stack}.yaml"
    address = find_public_address()
    if address is None:
        raise SpecError.of(
            f"{path.name}: {_KEY}: is empty, and {ADDRESS_URL} did not return the address of this "
            "machine. Set the ranges that may reach the cluster's API, such as [203.0.113.7/32]."
        )
    text = add_range(path.read_text(encoding="utf-8"), f"{address}/32")
    replace_atomically(path, text, mode=0o644)
    return [
        f"{path.name}: {_KEY} is now [{address}/32]: only this machine's address reaches the "
        "cluster's API. Commit the file, or list other ranges."
    ]


def add_range(text: str, cidr: str) -> str:
    """Return the configuration file's text with the only range of `cluster.public_cidrs`.

    All other lines stay as they are, unless the section is written on one line.
    """
    document = YAML().load(text)
    cluster = document["config"]["berth:cluster"]
    lines = text.splitlines(keepends=True)
    name = "public_cidrs" if "public_cidrs" in cluster else "endpoint"
    number, indent = cluster.lc.key(name)
    entry = f"{' ' * indent}public_cidrs: [{cidr}]"
    if name == "endpoint":
        lines.insert(number + 1, f"{entry}\n")
    elif match := _EMPTY_ENTRY.fullmatch(lines[number]):
        lines[number] = f"{entry}{match['rest']}"
    changed = "".join(lines)
    if _read_ranges(changed) == [cidr]:
        return changed
    return _write_again(text, cidr)


def _read_ranges(text: str) -> object:
    """Return the ranges in the text, or None if it is not YAML."""
    try:
        return YAML(typ="safe").load(text)["config"]["berth:cluster"].get("public_cidrs")
    except YAMLError:
        return None


def _write_again(text: str, cidr: str) -> str:
    """Return the whole text in YAML's own form: comments stay, spaces may change."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1_000_000  # Never wrap a line.
    document = yaml.load(text)
    document["config"]["berth:cluster"]["public_cidrs"] = [cidr]
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()
