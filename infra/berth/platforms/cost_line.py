"""A line of a cost estimate."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class CostLine:
    """A line of the estimate.

    Attributes:
        service: Name of the service.
        item: What is charged.
        quantity: Number of units per month.
        unit: Unit of the price.
        unit_usd: Price of a unit in US dollars, or None if the table lacks it.
        source: Where the price comes from.
        is_read: Whether the source could be read when the table was made.
    """

    service: str
    item: str
    quantity: float
    unit: str
    unit_usd: float | None
    source: str
    is_read: bool

    @property
    def usd(self) -> float:
        """US dollars per month. An unknown price counts as zero, and the estimate says so."""
        return self.quantity * (self.unit_usd or 0.0)
