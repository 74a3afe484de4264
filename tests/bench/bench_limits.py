"""What the sections of docs/benchmarks.md have to hold, and what a measurement broke of it."""

FAN_OUT_MS = 250
SEARCH_MS = 100
WEBHOOKS_MS = 50
LEDGER_RATIO = 4
JAIN = 0.95


def at_most(what: str, found: float, limit: float, unit: str = "") -> list[str]:
    """One line where ``found`` is above ``limit`` or no number; nothing where it holds."""
    return [] if found <= limit else [f"{what} is {_number(found)}{unit}, at most {_number(limit)}{unit} is to be held"]


def at_least(what: str, found: float, limit: float, unit: str = "") -> list[str]:
    """One line where ``found`` is below ``limit`` or no number; nothing where it holds."""
    if found >= limit:
        return []
    return [f"{what} is {_number(found)}{unit}, at least {_number(limit)}{unit} is to be held"]


def jain(shares: list[int]) -> float:
    """Jain's index of fairness: 1 where all shares are the same, 1/n where one has everything.

    R. Jain, D. Chiu, W. Hawe: A Quantitative Measure of Fairness and Discrimination (1984).
    """
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares)) if any(shares) else 0.0


def _number(value: float) -> str:
    return f"{value:,.4f}".rstrip("0").rstrip(".")
