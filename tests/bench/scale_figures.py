"""What processes use, what the operator counts, and quantiles of both."""

import math
import os
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from prometheus_client.parser import text_string_to_metric_families

Labels = frozenset[tuple[str, str]]
PREFIX = "switchboard_operator_"


@dataclass(frozen=True)
class Usage:
    """What a process has used, as Linux tells it.

    Attributes:
        cpu_s: processor time since its start, in seconds.
        rss_mib: memory that it holds now.
        peak_mib: the most that it ever held.
    """

    cpu_s: float
    rss_mib: float
    peak_mib: float

    @classmethod
    def of(cls, pid: int) -> Self:
        """Of a process that runs."""
        stat = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        ticks = int(stat[11]) + int(stat[12])
        lines = Path(f"/proc/{pid}/status").read_text("utf-8").splitlines()
        memory = dict(line.split(":", 1) for line in lines if line.startswith(("VmRSS", "VmHWM")))
        held, peak = (int(memory[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM"))
        return cls(ticks / os.sysconf("SC_CLK_TCK"), held, peak)


@dataclass(frozen=True)
class Scrape:
    """The operator's metrics at a moment, or what was added to them between two."""

    samples: dict[tuple[str, Labels], float]

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read the page."""
        families = text_string_to_metric_families(text)
        return cls(
            {
                (sample.name, frozenset(sample.labels.items())): sample.value
                for family in families
                for sample in family.samples
                if sample.name.startswith(PREFIX)
            }
        )

    def since(self, earlier: "Scrape") -> "Scrape":
        """What was added; meant for counters and histograms of one process."""
        return Scrape({key: value - earlier.samples.get(key, 0.0) for key, value in self.samples.items()})

    def total(self, name: str, **labels: str) -> float:
        """Sum over all samples that have these labels."""
        wanted = frozenset(labels.items())
        return sum(value for (found, has), value in self.samples.items() if found == PREFIX + name and wanted <= has)

    def quantile(self, name: str, share: float) -> float:
        """Quantile of a histogram, linear within its bucket as Prometheus has it; 0 for an empty one.

        Args:
            name: of the histogram.
            share: 0.99 for p99.
        """
        buckets: dict[float, float] = {}
        for (found, labels), value in self.samples.items():
            if found == f"{PREFIX}{name}_bucket":
                bound = float(dict(labels)["le"])
                buckets[bound] = buckets.get(bound, 0.0) + value
        bounds = sorted(buckets)
        rank = share * buckets[bounds[-1]] if bounds else 0.0
        below, low = 0.0, 0.0
        for bound in bounds:
            if buckets[bound] >= rank > below:
                return low if math.isinf(bound) else low + (bound - low) * (rank - below) / (buckets[bound] - below)
            below, low = buckets[bound], bound
        return 0.0


def quantile(values: Sequence[float], share: float) -> float:
    """Quantile of measured values; of a single one it is that value."""
    if len(values) < 2:
        return values[0] if values else 0.0
    return statistics.quantiles(values, n=100, method="inclusive")[round(share * 100) - 1]
