"""Prometheus metrics, read off the ledger when they are asked for."""

from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from switchboard_simulator.calls import CallStatus
from switchboard_simulator.messages import MessageStatus
from switchboard_simulator.simulation import Simulation


class SimulationCollector(Collector):
    """The figures of a simulation as metrics; a reset sets them back, which Prometheus takes for a restart.

    Args:
        simulation: returns the running simulation.
    """

    def __init__(self, simulation: Callable[[], Simulation]) -> None:
        self._simulation = simulation

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics."""
        simulation = self._simulation()
        ledger = simulation.ledger
        yield GaugeMetricFamily("simulator_live_calls", "Calls that have not ended", value=ledger.live)
        yield GaugeMetricFamily(
            "simulator_queued_calls", "Calls that wait for their turn", value=simulation.engine.queued
        )
        calls = GaugeMetricFamily("simulator_calls", "Calls by status", labels=["status"])
        for status in CallStatus:
            calls.add_metric([status.value], ledger.statuses[status])
        yield calls
        messages = GaugeMetricFamily("simulator_messages", "Messages by status", labels=["status"])
        for message_status in MessageStatus:
            messages.add_metric([message_status.value], simulation.message_ledger.statuses[message_status])
        yield messages
        for name, text, counts in (
            ("simulator_creates", "Create calls by answer", ledger.creates),
            ("simulator_message_creates", "Requests for messages by answer", simulation.message_ledger.creates),
            ("simulator_callbacks", "Callbacks by fate", ledger.callbacks),
            ("simulator_recordings", "Recordings and downloads by result", ledger.recordings),
        ):
            family = CounterMetricFamily(name, text, labels=["result"])
            for result, n in counts.items():
                family.add_metric([result], n)
            yield family


def registry_for(simulation: Callable[[], Simulation]) -> CollectorRegistry:
    """Return a registry of its own, so that several simulators can live in one process."""
    registry = CollectorRegistry()
    # Only a scrape asks: until the application starts there is no simulation to ask.
    registry.register(SimulationCollector(simulation))
    return registry
