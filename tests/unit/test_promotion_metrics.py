"""The direction of metrics by their names, and the comparison of two model cards."""

import math

import pytest

from berth.operations.promotion.metrics import (
    Direction,
    Outcome,
    compare_metrics,
    find_direction,
)


@pytest.mark.parametrize(
    "name",
    [
        *("accuracy", "val_accuracy", "valAccuracy", "top5-accuracy", "f1", "f1_macro", "F1Macro"),
        *("ROC_AUC", "rocAuc", "r2", "R2", "r2_score", "mAP50", "explained_variance", "score"),
        *("neg_log_loss", "neg_mean_squared_error", "balanced_accuracy_score"),
    ],
)
def test_higher_value_is_better(name: str) -> None:
    assert find_direction(name) is Direction.HIGHER


@pytest.mark.parametrize(
    "name",
    [
        *("loss", "log_loss", "valLoss", "error_rate", "rmse", "RMSE", "MAE", "mape"),
        *("mean_squared_error", "brier_score", "brier_score_loss", "mean_poisson_deviance"),
    ],
)
def test_lower_value_is_better(name: str) -> None:
    assert find_direction(name) is Direction.LOWER


@pytest.mark.parametrize(
    "name",
    [
        *(
            "latency",
            "quality",
            "accuracy_std",
            "f1_rows",
            "precision_error",
            "false_negative_rate",
        ),
        *("42", "", "macroscore", "terror", "lossless"),
    ],
)
def test_direction_of_other_names_is_unknown(name: str) -> None:
    assert find_direction(name) is Direction.UNKNOWN


@pytest.mark.parametrize(
    ("name", "before", "after", "outcome"),
    [
        ("accuracy", 0.9, 0.8999, Outcome.WORSE),
        ("accuracy", 0.9, 0.91, Outcome.BETTER),
        ("accuracy", 0.9, 0.9, Outcome.EQUAL),
        ("log_loss", 0.1, 0.2, Outcome.WORSE),
        ("log_loss", 0.1, 0.05, Outcome.BETTER),
        ("neg_log_loss", -0.1, -0.2, Outcome.WORSE),
        ("accuracy", 0.9, math.nan, Outcome.WORSE),
        ("accuracy", math.nan, 0.9, Outcome.NOT_JUDGED),
        ("rmse", 1.0, math.inf, Outcome.WORSE),
        ("quality", 1.0, 0.1, Outcome.NOT_JUDGED),
    ],
)
def test_metric_is_compared_in_its_direction(
    name: str, before: float, after: float, outcome: Outcome
) -> None:
    [change] = compare_metrics({name: before}, {name: after})
    assert change.outcome is outcome


def test_metric_of_only_one_card_is_reported_and_not_judged() -> None:
    changes = compare_metrics({"accuracy": 0.9, "f1": 0.8}, {"accuracy": 0.95, "auc": 0.7})
    assert [(each.name, each.before, each.after, each.outcome) for each in changes] == [
        ("accuracy", 0.9, 0.95, Outcome.BETTER),
        ("auc", None, 0.7, Outcome.NOT_JUDGED),
        ("f1", 0.8, None, Outcome.NOT_JUDGED),
    ]
