"""Which images of a repository ECR may delete by itself."""

from typing import Any

RELEASE, ATTACHED = "release-", "sha256-"
"""How tags begin of images that a stack was ever to run, and of what is attached to an image (its
list of contents)."""
# More than a repository can have: https://docs.aws.amazon.com/AmazonECR/latest/userguide/service-quotas.html
_ALL = 100_000


def lifecycle(*, keep_images: int, keep_untagged_days: int) -> dict[str, Any]:
    """A lifecycle policy that never deletes an image of a release.

    A stack can go back to any of its releases, and ECR does not know them. Berth tags what a stack
    runs `release-<content>`. The first rule takes these images and deletes none: ECR holds an image
    against the rules in their order, and one that a rule has taken is not looked at by those after.
    https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html

    Args:
        keep_images: of those with other tags, the newest are kept.
        keep_untagged_days: that an image without a tag is kept.
    """
    return {
        "rules": [
            _rule(
                1,
                "releases stay",
                {
                    "tagStatus": "tagged",
                    "tagPatternList": [f"{RELEASE}*", f"{ATTACHED}*"],
                    "countType": "imageCountMoreThan",
                    "countNumber": _ALL,
                },
            ),
            _rule(
                2,
                f"without a tag for {keep_untagged_days} days",
                {
                    "tagStatus": "untagged",
                    "countType": "sinceImagePushed",
                    "countUnit": "days",
                    "countNumber": keep_untagged_days,
                },
            ),
            _rule(
                3,
                f"all but the newest {keep_images} of the others",
                {
                    "tagStatus": "any",
                    "countType": "imageCountMoreThan",
                    "countNumber": keep_images,
                },
            ),
        ]
    }


def _rule(priority: int, says: str, selection: dict[str, Any]) -> dict[str, Any]:
    return {
        "rulePriority": priority,
        "description": says,
        "selection": selection,
        "action": {"type": "expire"},
    }
