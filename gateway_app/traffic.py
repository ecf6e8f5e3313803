"""Traffic: which version answers the next request, in exact proportion to the weights."""

from collections.abc import Mapping


class Split:
    """Smooth weighted round robin.

    Any run of as many picks as the weights' sum holds each version exactly as often as its
    weight says when it starts with a fresh split, and a version's picks are spread over it.
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
