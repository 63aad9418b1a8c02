"""What a subscriber has missed."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Missed:
    """Stands in a subscription where items were dropped because they were not taken fast enough."""

    count: int
    """How many."""
