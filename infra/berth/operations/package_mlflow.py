"""Packages a model of MLflow, from a directory or a registry."""

from typing import Any

from berth.operations.package import PackagedModel, package_model
from berth.packaging.mlflow_model import is_mlflow_source, open_mlflow


def package_source(source: str, *, rows: object = None, **options: Any) -> PackagedModel:
    """Package any source; see `package_model`.

    A directory with `MLmodel`, `models:/<name>/<version>` and `runs:/<run>/<path>` are models of
    MLflow. Their rows default to the input example that was logged with them.

    Raises:
        PackageError: If the model is rejected. Nothing changes.
    """
    if not is_mlflow_source(source):
        return package_model(source, rows=rows, **options)
    with open_mlflow(source) as model:
        return package_model(
            model.file, rows=model.rows if rows is None else rows, mlflow=model, **options
        )
