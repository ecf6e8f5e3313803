"""Images that ECR deletes, by an evaluation of its lifecycle rules."""

from datetime import UTC, datetime, timedelta
from fnmatch import fnmatch
from typing import Any

from pulumi_berth.aws.model_registry import build_lifecycle_policy
from pulumi_berth.images.image_inputs import content_tag

_NOW = datetime(2026, 11, 23, tzinfo=UTC)


def _image(days: int, *tags: str) -> dict[str, Any]:
    return {"pushed": _NOW - timedelta(days=days), "tags": tags}


def _deleted(policy: dict[str, Any], images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Apply the rules by priority. Each image belongs to the first rule that its tags match.

    https://docs.aws.amazon.com/AmazonECR/latest/userguide/LifecyclePolicies.html
    """
    left, gone = list(images), []
    for rule in sorted(policy["rules"], key=lambda rule: rule["rulePriority"]):
        choice = rule["selection"]
        taken = sorted(
            (image for image in left if _matches(choice, image["tags"])),
            key=lambda image: image["pushed"],
            reverse=True,
        )
        left = [image for image in left if image not in taken]
        if choice["countType"] == "imageCountMoreThan":
            gone += taken[choice["countNumber"] :]
        else:
            oldest = _NOW - timedelta(days=choice["countNumber"])
            gone += [image for image in taken if image["pushed"] < oldest]
    return gone


def _matches(choice: dict[str, Any], tags: tuple[str, ...]) -> bool:
    match choice["tagStatus"]:
        case "untagged":
            return not tags
        case "tagged":
            return any(fnmatch(tag, like) for tag in tags for like in choice["tagPatternList"])
        case _:
            return True


def test_images_of_releases_are_kept_regardless_of_age_and_number() -> None:
    policy = build_lifecycle_policy(keep_images=5, keep_untagged_days=14)
    tag = content_tag({"repository": "registry/berth/digits", "layers": []})
    images = [_image(1000 + day, f"{tag}{day}") for day in range(500)]
    images += [_image(1000, "sha256-0.sbom")]
    assert _deleted(policy, images) == []


def test_images_without_tag_are_deleted_after_their_days() -> None:
    policy = build_lifecycle_policy(keep_images=5, keep_untagged_days=14)
    old, new = _image(15), _image(13)
    assert _deleted(policy, [old, new]) == [old]


def test_newest_of_other_images_are_kept() -> None:
    policy = build_lifecycle_policy(keep_images=5, keep_untagged_days=14)
    images = [_image(day, f"try-{day}") for day in range(8)]
    assert _deleted(policy, [*images, _image(900, "release-0")]) == images[5:]
