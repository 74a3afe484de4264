"""The life of messages on a virtual clock."""

import pytest

from switchboard_simulator.activity import Activity
from switchboard_simulator.clock import VirtualClock
from switchboard_simulator.errors import TwilioError
from switchboard_simulator.message_engine import MessageEngine
from switchboard_simulator.message_ledger import MessageLedger
from switchboard_simulator.messages import Message, MessageRequest, MessageScript, MessageStatus
from unit.simulator.world import ACCOUNT, CALLEE, CALLER, Post

STEP = 2.0
OTHER_SENDER = "+14155550198"


class Texts:
    """A carrier of messages whose callbacks end up in a list."""

    def __init__(self, per_second: float = 1000.0) -> None:
        self.clock, self.post = VirtualClock(), Post()
        self.ledger, self.activity = MessageLedger(), Activity()
        self.engine = MessageEngine(
            clock=self.clock,
            effects=self.post,
            ledger=self.ledger,
            activity=self.activity,
            per_second=per_second,
            step=STEP,
        )

    def script(self, outcome: str, **details: object) -> None:
        self.engine.book.add(MessageScript.model_validate({"outcome": outcome, **details}))

    def send(
        self, to: str = CALLEE, from_: str = CALLER, callback: str | None = "https://x.test/s?recipient=7"
    ) -> Message:
        return self.engine.create(ACCOUNT, MessageRequest(to=to, from_=from_, body="Hello", status_callback=callback))

    def told(self) -> list[str]:
        return self.post.values("MessageStatus", "message-status")


@pytest.fixture
def texts() -> Texts:
    return Texts()


def test_a_message_is_queued_first_and_delivered_step_by_step(texts: Texts) -> None:
    message = texts.send()
    assert (message.status, texts.told()) == (MessageStatus.QUEUED, [])
    seen = []
    for seconds in (0.0, STEP, STEP):
        texts.clock.advance(seconds)
        seen.append(message.status.value)
    assert (seen, message.settled) == (["sending", "sent", "delivered"], True)
    assert texts.told() == ["sending", "sent", "delivered"]
    assert texts.activity.idle


@pytest.mark.parametrize(
    ("outcome", "words", "code"),
    [
        ("undelivered", ["sending", "sent", "undelivered"], "30003"),
        ("failed", ["sending", "failed"], "30008"),
    ],
)
def test_a_message_that_does_not_arrive_says_why(texts: Texts, outcome: str, words: list[str], code: str) -> None:
    texts.script(outcome)
    texts.send()
    texts.clock.advance(10 * STEP)
    assert texts.told() == words
    assert texts.post.sent[-1].params["ErrorCode"] == code


def test_a_silent_number_never_says_that_it_has_the_message(texts: Texts) -> None:
    texts.script("silent")
    texts.send()
    texts.clock.advance(100 * STEP)
    assert texts.told() == ["sending", "sent"]
    assert texts.activity.idle


def test_a_script_refuses_a_number_and_no_other(texts: Texts) -> None:
    texts.script("reject", number=CALLEE, error_code=21610)
    with pytest.raises(TwilioError) as refused:
        texts.send()
    assert refused.value.code == 21610
    assert texts.send(to="+14155550111").status is MessageStatus.QUEUED


def test_each_sender_has_a_queue_of_its_own() -> None:
    texts = Texts(per_second=1.0)
    messages = [texts.send(), texts.send(), texts.send(from_=OTHER_SENDER)]
    texts.clock.advance(0.0)
    assert [message.status.value for message in messages] == ["sending", "queued", "sending"]
    texts.clock.advance(1.0)
    assert messages[1].status is MessageStatus.SENDING


def test_without_a_callback_url_nobody_is_told(texts: Texts) -> None:
    texts.send(callback=None)
    texts.clock.advance(10 * STEP)
    assert texts.post.sent == []


def test_the_report_counts_by_number_and_by_recipient(texts: Texts) -> None:
    texts.send()
    texts.send()
    texts.clock.advance(10 * STEP)
    report = texts.ledger.report()
    assert (report.messages, report.by_number, report.by_recipient) == (2, {CALLEE: 2}, {"7": 2})
    assert report.recipients_messaged_more_than_once == ["7"]
    assert report.by_status == {"delivered": 2}


def test_a_message_to_us_is_told_to_the_webhook(texts: Texts) -> None:
    texts.engine.receive(ACCOUNT, from_=CALLEE, to=CALLER, body="STOP", url="https://x.test/in")
    (webhook,) = texts.post.sent
    assert (webhook.kind, webhook.params["From"], webhook.params["To"], webhook.params["Body"]) == (
        "message",
        CALLEE,
        CALLER,
        "STOP",
    )
