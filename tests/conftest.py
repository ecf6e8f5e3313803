"""What several folders of tests share: the cluster and the stack on it are started once."""

from tests.cluster.stacks import cluster, hosted

__all__ = ["cluster", "hosted"]
