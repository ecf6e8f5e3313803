"""The engine that runs the program: Pulumi's command line and its Python host, found or made."""

from infra.engine.ensure import EngineError, ensure_engine
from infra.engine.environment import Engine
from infra.engine.policy_host import runs_policy_packs
from infra.engine.provider import ensure_providers

__all__ = ["Engine", "EngineError", "ensure_engine", "ensure_providers", "runs_policy_packs"]
