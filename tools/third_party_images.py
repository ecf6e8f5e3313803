"""Compare the images of other projects with their registries, or fill in their digests.

    python -m tools.third_party_images            compare; exit 1 if a digest is missing or differs
    python -m tools.third_party_images --write    write the digests and today's date

It needs access to the registries, as everyone without a login has it. Before a release, also check
the `advisories` of each image against https://github.com/advisories by hand, and change the tag in
components/pulumi_berth/images/third_party.json.
"""

import argparse
import datetime
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pulumi_berth.images.third_party import ThirdPartyImage, read_images, read_third_party
from pulumi_berth.oci.registry import RegistryError, Repository, get_registry_host

FILE = Path(__file__).resolve().parents[1] / "components/pulumi_berth/images/third_party.json"


def resolve_digest(image: ThirdPartyImage, mirrors: Mapping[str, str], *, plain_http: bool) -> str:
    """Return the digest that the registry has for the image's tag.

    Args:
        mirrors: Host in references -> host that is asked instead.

    Raises:
        RegistryError: If the registry does not respond, or has no such tag.
    """
    host, _, path = image.repository.partition("/")
    host = mirrors.get(host, get_registry_host(host))
    repository = Repository(name=f"{host}/{path}", plain_http=plain_http)
    # The client compares the document with the digest that the registry declares.
    return repository.manifest(image.tag).digest


def compare(
    images: Mapping[str, ThirdPartyImage], mirrors: Mapping[str, str], *, plain_http: bool
) -> Iterator[tuple[str, str | None, str]]:
    """Return for each image its name, the registry's digest if it is known, and a result."""
    for name, image in images.items():
        try:
            digest = resolve_digest(image, mirrors, plain_http=plain_http)
        except RegistryError as error:
            yield name, None, f"not checked: {error}"
            continue
        if image.digest is None:
            yield name, digest, f"missing: {image.tag} is {digest}"
        elif image.digest != digest:
            yield name, digest, f"differs: {image.tag} is {digest}, not {image.digest}"
        else:
            yield name, digest, f"ok: {image.tag}"


def write_digests(path: Path, digests: Mapping[str, str], today: datetime.date) -> None:
    """Write the digests of images, and the day, into the file."""
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    for name, digest in digests.items():
        entry = content["images"][name]
        if entry["digest"] != digest:
            entry["digest"] = digest
            entry["evidence"] = f"digest of the registry on {today.isoformat()}"
    content["checked"] = today.isoformat()
    text = json.dumps(content, indent=1, ensure_ascii=False)
    path.write_text(f"{text}\n", encoding="utf-8")


_HEAD = """# Third-party images

<!-- Generated from pulumi_berth/images/third_party.json by `python -m tools.generate`. -->

Images, packages and manifests of other projects that stacks use. Berth's own images are built from
[pinned packages](images.md). The list was checked on {checked}.

## Images

An image by digest is always the same image. Where the digest is missing, the tag can move to
another image, and every preview says so (`pod-image-digest`). To run another version, set the key
in the second column to an image by digest.

| image | used for | released | source of the digest |
|---|---|---|---|
"""

_TAIL = """
## Update the list

A maintainer with access to the registries compares all digests, or fills in those that are missing:

```console
$ python -m tools.third_party_images
$ python -m tools.third_party_images --write
```

The first command exits with status 1 if a digest is missing or differs. It asks the registries
without a login; `--mirror docker.io=mirror.example.com` asks another one. To take a new version,
change its tag in `components/pulumi_berth/images/third_party.json`, set its digest to `null`, run
the second command, compare the advisories with <https://github.com/advisories>, and run
`python -m tools.generate`.
"""


def build_page() -> str:
    """Return the reference page in Markdown."""
    content = read_third_party()
    lines = [_HEAD.format(checked=content["checked"]).rstrip()]
    for image in read_images().values():
        lines.append(
            f"| `{image.reference}` | {image.purpose} | {image.released or 'unknown'} "
            f"| {image.evidence} |"
        )
    lines += [
        "",
        "## Packages and manifests",
        "",
        "| name | used for | pinned by |",
        "|---|---|---|",
    ]
    for name, package in content["packages"].items():
        lines.append(f"| {name} | {package['purpose']} | SHA-256 in `{package['lock']}` |")
    for name, manifest in content["manifests"].items():
        url = f"<{manifest['url']}>"
        pin = f"SHA-256 of `{manifest['file']}` ({manifest['license']}): {manifest['evidence']}"
        lines.append(
            f"| {name} {manifest['version']} | {manifest['purpose']} | {pin}. Release: {url} |"
        )
    lines += ["", "## Advisories", "", "| advisory | of | state | note |", "|---|---|---|---|"]
    for name, entry in {**content["images"], **content["packages"]}.items():
        for one in entry["advisories"]:
            lines.append(f"| {one['id']} | {name} | {one['state']} | {one['note'] or '-'} |")
    return "\n".join(lines) + "\n" + _TAIL


def main(arguments: list[str] | None = None) -> int:
    """Run the command and return its exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write the digests of the registries")
    parser.add_argument("--mirror", action="append", default=[], metavar="HOST=MIRROR",
                        help="ask MIRROR instead of HOST")  # fmt: skip
    parser.add_argument("--plain-http", action="store_true", help="the mirrors have no TLS")
    parser.add_argument("--file", type=Path, default=FILE, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    mirrors = dict(entry.split("=", 1) for entry in options.mirror)
    results = list(compare(read_images(), mirrors, plain_http=options.plain_http))
    for name, _, result in results:
        print(f"{name}: {result}")
    if options.write:
        found = {name: digest for name, digest, _ in results if digest is not None}
        write_digests(options.file, found, datetime.datetime.now(datetime.UTC).date())
        return 0 if len(found) == len(results) else 1
    return 0 if all(result.startswith("ok") for _, _, result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
