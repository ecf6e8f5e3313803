"""Traffic: which version answers the next request, in exact proportion to the weights."""

from collections.abc import Mapping


class Split:
    """Smooth weighted round robin.

    Among as many picks in a row as the weights' sum, wherever they begin, each version is there
    exactly as often as its weight says, and its picks are spread over them.
    """

    def __init__(self, weights: Mapping[str, int]) -> None:
        """`weights`: version -> share, of which at least one is above 0."""
        self.weights = dict(weights)
        self._total = sum(self.weights.values())
        self._credit = {version: 0 for version, weight in self.weights.items() if weight > 0}
        if not self._credit:
            raise ValueError(f"no version has a weight above 0: {self.weights}")

    def next(self) -> str:
        """The version of the next request."""
        for version in self._credit:
            self._credit[version] += self.weights[version]
        chosen = max(self._credit, key=self._credit.__getitem__)
        self._credit[chosen] -= self._total
        return chosen
