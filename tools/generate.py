"""Write the generated documents: `python -m tools.generate`. A test checks them."""

from collections.abc import Callable
from pathlib import Path

from berth.operations.graph import document_stack
from berth.spec.reference import reference_text
from berth.spec.schema import schema_text
from berth_policy.document import build_page
from tools import audit, third_party_images
from tools.component_reference import build_files

ROOT = Path(__file__).resolve().parents[1]
DOCUMENTS: dict[str, Callable[[], str]] = {
    "docs/reference/pulumi-stack.schema.json": schema_text,
    # For editors of new projects.
    "infra/berth/project_template/pulumi-stack.schema.json": schema_text,
    "docs/reference/specification.md": reference_text,
    "docs/reference/security-baseline.md": build_page,
    "docs/reference/security-audit.md": audit.build_page,
    "docs/reference/third-party-images.md": third_party_images.build_page,
    "docs/explanation/prod-stack.md": lambda: document_stack(ROOT / "Pulumi.prod.yaml"),
}
"""Path in the repository -> the function that returns its text."""


def main() -> None:
    """Write every generated document."""
    documents = {path: build() for path, build in DOCUMENTS.items()} | build_files()
    for path, text in documents.items():
        (ROOT / path).write_text(text)


if __name__ == "__main__":
    main()
