"""The engine that runs the program: Pulumi's command line and its Python host, found or made."""

from berth.engine.ensure import EngineError, ensure_engine
from berth.engine.environment import Engine
from berth.engine.provider import ensure_providers

__all__ = ["Engine", "EngineError", "ensure_engine", "ensure_providers"]
