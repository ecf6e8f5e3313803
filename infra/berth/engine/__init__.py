"""The Pulumi engine: finds it, downloads it or builds it, and installs its providers."""

from berth.engine.ensure import ensure_engine
from berth.engine.environment import Engine, EngineError
from berth.engine.providers import ensure_providers

__all__ = ["Engine", "EngineError", "ensure_engine", "ensure_providers"]
