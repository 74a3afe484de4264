"""Where the charts and their examples are."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
CHARTS = ROOT / "charts"
OPERATOR = CHARTS / "switchboard-operator"
SWITCHBOARD = CHARTS / "switchboard"
BOTH = (OPERATOR, SWITCHBOARD)
EXAMPLES = ROOT / "examples"
