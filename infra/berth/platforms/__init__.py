"""Where stacks run. Each platform is one directory with one record, `platform.PLATFORM`.

To add a platform, add its name to `berth.spec.hosting.PlatformName` and a directory of that name.
"""

import importlib

from berth.platforms.platform import Platform


def get_platform(name: str) -> Platform:
    """Return the platform of that name.

    The module is imported here, and not before, because a command needs only one platform.
    """
    module = importlib.import_module(f"berth.platforms.{name}.platform")
    platform: Platform = module.PLATFORM
    return platform


__all__ = ["Platform", "get_platform"]
