"""The parts of a simulated carrier, put together; a reset puts new ones together."""

import httpx

from switchboard_simulator.activity import Activity
from switchboard_simulator.clock import Clock
from switchboard_simulator.courier import Courier
from switchboard_simulator.engine import Engine, Pace
from switchboard_simulator.faults import Dice, Faults
from switchboard_simulator.ledger import Ledger
from switchboard_simulator.message_engine import MessageEngine
from switchboard_simulator.message_ledger import MessageLedger
from switchboard_simulator.outcomes import OutcomeBook
from switchboard_simulator.settings import SimulatorSettings


class Simulation:
    """A carrier: its engine, its courier, its scripts, faults and figures.

    Args:
        settings: as given by the environment.
        clock: real or virtual.
        client: for callbacks; the owner closes it.
    """

    settings: SimulatorSettings
    clock: Clock
    ledger: Ledger
    message_ledger: MessageLedger
    activity: Activity
    book: OutcomeBook
    engine: Engine
    message_engine: MessageEngine
    dice: Dice
    _courier: Courier

    def __init__(self, settings: SimulatorSettings, clock: Clock, client: httpx.AsyncClient) -> None:
        self.settings = settings
        self.clock = clock
        self._client = client
        self._assemble()

    def set_faults(self, faults: Faults) -> None:
        """Let these things go wrong from now on, and no others."""
        self.dice = Dice(faults)
        self._courier.dice = self.dice

    def stop(self) -> None:
        """Let no call and no message move and no callback leave any more."""
        self.engine.stop()
        self.message_engine.stop()
        self._courier.stop()

    def reset(self) -> None:
        """Forget all calls, messages, scripts and figures; faults are those of the settings again."""
        self.stop()
        self._assemble()

    def _assemble(self) -> None:
        settings = self.settings
        self.ledger, self.message_ledger, self.activity = Ledger(), MessageLedger(), Activity()
        self.book, self.dice = OutcomeBook(settings), Dice(settings.faults)
        self._courier = Courier(
            client=self._client,
            auth_tokens=settings.auth_tokens,
            clock=self.clock,
            dice=self.dice,
            ledger=self.ledger,
            activity=self.activity,
        )
        self.engine = Engine(
            clock=self.clock,
            effects=self._courier,
            book=self.book,
            ledger=self.ledger,
            activity=self.activity,
            pace=Pace(per_second=settings.cps, dial=settings.dial_seconds, detection=settings.detection_seconds),
        )
        self.message_engine = MessageEngine(
            clock=self.clock,
            effects=self._courier,
            ledger=self.message_ledger,
            activity=self.activity,
            per_second=settings.mps,
            step=settings.message_seconds,
        )
