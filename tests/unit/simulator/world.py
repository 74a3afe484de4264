"""A carrier on a virtual clock, whose callbacks end up in a list."""

from collections.abc import Callable

from switchboard_simulator.activity import Activity
from switchboard_simulator.callbacks import Webhook
from switchboard_simulator.calls import Call, CallRequest
from switchboard_simulator.clock import VirtualClock
from switchboard_simulator.engine import Engine, Pace
from switchboard_simulator.ledger import Ledger
from switchboard_simulator.outcomes import Habits, Outcome, OutcomeBook, OutcomeKind, Script

ACCOUNT = "AC" + "a" * 32
CALLER = "+14155550199"
CALLEE = "+14155550100"
SAY = "<Response><Say>Hello</Say></Response>"
ALL_EVENTS = frozenset({"initiated", "ringing", "answered", "completed"})
RING, TALK, DIAL, DETECT, RECORD = 4.0, 30.0, 1.0, 3.0, 2.0


class Post:
    """Takes what the engine sends; TwiML is answered at once with ``document``."""

    def __init__(self) -> None:
        self.sent: list[Webhook] = []
        self.asked: list[Webhook] = []
        self.document: str | None = SAY

    def notify(self, webhook: Webhook) -> None:
        self.sent.append(webhook)

    def fetch(self, webhook: Webhook, arrived: Callable[[str | None], None]) -> None:
        self.asked.append(webhook)
        arrived(self.document)

    def values(self, name: str, kind: str = "status") -> list[str]:
        return [webhook.params[name] for webhook in self.sent if webhook.kind == kind]


class World:
    """Everything a call needs, and shorthands to make calls."""

    def __init__(self, per_second: float = 1000.0) -> None:
        self.clock = VirtualClock()
        self.post = Post()
        self.ledger = Ledger()
        self.activity = Activity()
        habits = Habits(
            mix={OutcomeKind.ANSWER: 1}, spread=0, ring_seconds=RING, talk_seconds=TALK, recording_seconds=RECORD
        )
        self.book = OutcomeBook(habits)
        self.engine = Engine(
            clock=self.clock,
            effects=self.post,
            book=self.book,
            ledger=self.ledger,
            activity=self.activity,
            pace=Pace(per_second=per_second, dial=DIAL, detection=DETECT),
        )

    def script(self, outcome: OutcomeKind, number: str | None = None, **details: object) -> None:
        self.book.add(Script(number=number, outcomes=(Outcome.model_validate({"outcome": outcome, **details}),)))

    def call(self, to: str = CALLEE, **wanted: object) -> Call:
        fields: dict[str, object] = {
            "url": "https://example.com/voice",
            "status_callback": "https://example.com/status?attempt=7&business=3",
            "status_events": ALL_EVENTS,
            **wanted,
        }
        request = CallRequest(to=to, from_=CALLER, **fields)  # type: ignore[arg-type]
        return self.engine.create(ACCOUNT, request, "http://carrier")
