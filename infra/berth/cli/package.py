"""`berth package`."""

from pathlib import Path
from typing import Any

import click

from berth.cli.options import json_option, say, show
from berth.cli.sign import describe, format_text
from berth.cli.signing_key import KEY_HELP, load_key
from berth.project import find_project


@click.command()
@click.argument("source")
@click.option(
    "--name", required=True, help="Name of the model: lower-case letters, digits and hyphens."
)
@click.option(
    "--version", required=True, help="New version name. Existing versions are never overwritten."
)
@click.option(
    "--rows", help="File with sample rows or inputs (.npy or .npz), preferably from a held-out set."
)
@click.option(
    "--with",
    "processing",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="Python file with pre- and post-processing around the model, packaged as serve.py.",
)
@click.option(
    "--reference-data",
    type=click.Path(exists=True, dir_okay=False),
    help="File with training data (.csv, .parquet, .npy, .npz) to record statistics of.",
)
@click.option("--description", default="", help="One or two sentences for the model card.")
@click.option("--dataset", default="", help="Name of the training data.")
@click.option(
    "--metric", "metrics", multiple=True, help="Measured metric as NAME=NUMBER. Repeatable."
)
@click.option(
    "--has-rows/--no-rows",
    default=None,
    help="Whether the first dimension counts independent rows. Defaults to what runs show.",
)
@click.option(
    "--into",
    type=click.Path(file_okay=False, path_type=Path),
    help="Directory of the models. Defaults to 'models' in the project.",
)
@click.option(
    "--sign",
    "key",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="KEY",
    help=f"Sign the version as 'berth sign' does. {KEY_HELP}",
)
@json_option
def package(
    source: str,
    name: str,
    version: str,
    rows: str | None,
    processing: Path | None,
    reference_data: str | None,
    description: str,
    dataset: str,
    metrics: tuple[str, ...],
    has_rows: bool | None,
    into: Path | None,
    key: Path | None,
    as_json: bool,
) -> None:
    """Package a trained model as a version that Berth can serve.

    SOURCE is a file without pickled objects (.onnx, XGBoost .json or .ubj, LightGBM .txt, PyTorch
    .pt2), a Hugging Face directory, a directory or URI (models:/NAME/VERSION) of MLflow, or
    `train.py:function`, which returns a fitted model and sample rows.
    """
    directory = into or find_project() / "models"
    # A key that cannot be used is reported before the model is packaged.
    private = None if key is None else load_key(key)
    from berth.operations.package_mlflow import package_source

    say(f"Packaging {source} as {name} {version}: converting, checking and comparing predictions")
    result = package_source(
        source,
        name=name,
        version=version,
        rows=rows,
        processing=processing,
        reference_data=reference_data,
        description=description,
        dataset=dataset,
        metrics=dict(_parse_metric(text) for text in metrics) or None,
        has_rows=has_rows,
        into=directory,
    )
    for note in result.notes:
        say(note)
    document = {
        "path": str(result.path),
        "digest": result.digest,
        "changed": result.changed,
        "rows_compared": result.rows,
        "largest_differences": {name: d.largest for name, d in result.differences.items()},
        "metrics": result.card.metrics,
        "signature": None,
    }
    if private is not None:
        from berth.signing.version import sign_version

        say(f"Signing {name} {version}")
        document["signature"] = describe(sign_version(result.path, private))
    show(document, as_json, lambda: _format(document))
    if result.changed and not as_json:
        say(
            f"To serve it, add '\"{version}\": {{}}' to berth:models.{name}.versions in a stack's "
            "configuration file, and run 'berth up'."
        )


def _format(document: dict[str, Any]) -> str:
    differences = ", ".join(f"{n} {d:g}" for n, d in document["largest_differences"].items())
    rows = document["rows_compared"]
    compared = "the given inputs" if rows is None else f"{rows} rows"
    signature = document["signature"]
    action = "Created" if document["changed"] else "Unchanged:"
    return (
        f"{action} {document['path']}: {document['digest']}\n"
        f"Compared predictions for {compared}. Largest difference: "
        f"{differences}" + ("" if signature is None else f"\n{format_text(signature)}")
    )


def _parse_metric(text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    try:
        return name, float(number)
    except ValueError:
        raise click.BadParameter(
            f"'{text}' is not in the form NAME=NUMBER. Example: accuracy=0.97.",
            param_hint="--metric",
        ) from None
