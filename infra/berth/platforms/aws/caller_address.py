"""Records the address of the machine that runs the first `up` in the stack's configuration.

The address is written to the file, and not looked up in each update: a preview on another machine
would otherwise show a change, and an update from there would lock the first machine out.
"""

import io

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from berth.platforms.aws.reach import ADDRESS_URL, find_public_address
from berth.platforms.stack_context import StackContext
from berth.spec import SpecError
from pulumi_berth.files import replace_atomically

_KEY = "berth:cluster.public_cidrs"


def record_caller_address(context: StackContext) -> list[str]:
    """Write this machine's address to `cluster.public_cidrs` if the public endpoint admits none.

    Returns:
        One line if the file was changed.

    Raises:
        SpecError: If the address cannot be found out.
    """
    cluster = context.spec.cluster
    if (
        cluster.endpoint != "public_and_private"
        or cluster.public_cidrs
        or context.spec.kubernetes.kubeconfig is not None
    ):
        return []
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
    """Return the configuration file's text with the range in `cluster.public_cidrs`."""
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 1_000_000  # Never wrap a line.
    document = yaml.load(text)
    cluster = document["config"].setdefault("berth:cluster", CommentedMap())
    ranges = cluster.get("public_cidrs")
    if not ranges:
        ranges = CommentedSeq()
        ranges.fa.set_flow_style()
    ranges.append(cidr)
    cluster["public_cidrs"] = ranges
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()
