"""The life of calls, on a virtual clock."""

import pytest

from switchboard_simulator.calls import TERMINAL, Call, CallStatus, MachineDetection, RecordingStatus
from switchboard_simulator.errors import TwilioError
from switchboard_simulator.outcomes import OutcomeKind
from unit.simulator.world import ACCOUNT, CALLEE, DETECT, DIAL, RECORD, RING, TALK, World

DAY = 24 * 3600.0
LONG = 1000.0


@pytest.fixture
def world() -> World:
    return World()


def test_an_answered_call_goes_through_every_state_at_its_time(world: World) -> None:
    call = world.call()
    seen = [call.status]
    for seconds in (0.0, DIAL, RING, TALK):
        world.clock.advance(seconds)
        seen.append(call.status)
    assert seen == ["queued", "initiated", "ringing", "in-progress", "completed"]


def test_every_event_is_called_back_once_and_numbered_from_zero(world: World) -> None:
    world.call()
    world.clock.advance(LONG)
    assert world.post.values("CallStatus") == ["initiated", "ringing", "in-progress", "completed"]
    assert world.post.values("SequenceNumber") == ["0", "1", "2", "3"]


def test_only_the_end_is_called_back_unless_more_is_asked_for(world: World) -> None:
    world.call(status_events=frozenset({"completed"}))
    world.clock.advance(LONG)
    assert world.post.values("CallStatus") == ["completed"]
    assert world.post.values("SequenceNumber") == ["0"]


def test_a_call_without_a_status_callback_calls_nobody_back(world: World) -> None:
    world.call(status_callback=None)
    world.clock.advance(LONG)
    assert world.post.sent == []


def test_the_last_callback_carries_duration_and_sip_code(world: World) -> None:
    world.call()
    world.clock.advance(LONG)
    last = world.post.sent[-1].params
    assert (last["CallDuration"], last["Duration"], last["SipResponseCode"]) == ("30", "1", "200")


@pytest.mark.parametrize(
    ("outcome", "status", "sip_code"),
    [
        (OutcomeKind.BUSY, CallStatus.BUSY, "486"),
        (OutcomeKind.NO_ANSWER, CallStatus.NO_ANSWER, "487"),
        (OutcomeKind.FAIL, CallStatus.FAILED, "404"),
        (OutcomeKind.MACHINE, CallStatus.COMPLETED, "200"),
    ],
)
def test_a_scripted_outcome_happens(world: World, outcome: OutcomeKind, status: CallStatus, sip_code: str) -> None:
    world.script(outcome, CALLEE)
    call = world.call()
    world.clock.advance(LONG)
    assert call.status is status
    assert world.post.sent[-1].params["CallStatus"] == status
    assert world.post.sent[-1].params["SipResponseCode"] == sip_code


def test_a_callee_who_is_slower_than_the_timeout_does_not_answer(world: World) -> None:
    world.script(OutcomeKind.ANSWER, ring_seconds=20)
    call = world.call(timeout=10)
    world.clock.advance(DIAL + 10)
    assert call.status is CallStatus.NO_ANSWER


def test_the_time_limit_ends_a_conversation(world: World) -> None:
    call = world.call(time_limit=5)
    world.clock.advance(DIAL + RING + 5)
    assert call.status is CallStatus.COMPLETED
    assert call.seconds == 5


def test_a_begun_second_counts(world: World) -> None:
    world.script(OutcomeKind.ANSWER, talk_seconds=0.2)
    call = world.call()
    world.clock.advance(LONG)
    assert call.seconds == 1


def test_a_rejected_number_makes_no_call(world: World) -> None:
    world.script(OutcomeKind.REJECT, error_code=21214)
    with pytest.raises(TwilioError) as refused:
        world.call()
    assert (refused.value.status, refused.value.code) == (400, 21214)
    assert world.ledger.report().calls == 0


@pytest.mark.parametrize("document", [None, "no xml", "<Play/>", "<Response/>", "<Response><Hangup/></Response>"])
def test_without_something_to_say_the_conversation_ends_at_once(world: World, document: str | None) -> None:
    world.post.document = document
    call = world.call()
    world.clock.advance(DIAL + RING)
    assert call.status is CallStatus.COMPLETED


def test_the_fallback_is_asked_when_there_is_no_twiml(world: World) -> None:
    world.post.document = None
    world.call(fallback_url="https://example.com/fallback", fallback_method="GET")
    world.clock.advance(LONG)
    assert [(asked.url, asked.method) for asked in world.post.asked] == [
        ("https://example.com/voice", "POST"),
        ("https://example.com/fallback", "GET"),
    ]


def test_twiml_of_the_create_call_needs_no_request(world: World) -> None:
    call = world.call(url=None, twiml="<Response><Pause/></Response>")
    world.clock.advance(DIAL + RING + TALK / 2)
    assert call.status is CallStatus.IN_PROGRESS
    assert world.post.asked == []


@pytest.mark.parametrize("wanted", [CallStatus.CANCELED, CallStatus.COMPLETED])
@pytest.mark.parametrize("after", [None, 0.0, DIAL])
def test_a_call_nobody_answered_yet_can_be_canceled(world: World, wanted: CallStatus, after: float | None) -> None:
    call = world.call()
    if after is not None:
        world.clock.advance(after)
    world.engine.hang_up(call, wanted)
    world.clock.advance(LONG)
    assert call.status is CallStatus.CANCELED


def test_a_conversation_is_hung_up_by_completed(world: World) -> None:
    call = world.call()
    world.clock.advance(DIAL + RING + 2)
    world.engine.hang_up(call, CallStatus.COMPLETED)
    assert call.status is CallStatus.COMPLETED
    assert call.seconds == 2


def test_a_conversation_is_left_alone_by_canceled(world: World) -> None:
    call = world.call()
    world.clock.advance(DIAL + RING)
    world.engine.hang_up(call, CallStatus.CANCELED)
    assert call.status is CallStatus.IN_PROGRESS


def test_an_ended_call_cannot_be_hung_up(world: World) -> None:
    call = world.call()
    world.clock.advance(LONG)
    with pytest.raises(TwilioError) as refused:
        world.engine.hang_up(call, CallStatus.COMPLETED)
    assert (refused.value.status, refused.value.code) == (400, 21220)


def test_calls_start_one_after_the_other_at_the_accounts_rate() -> None:
    world = World(per_second=2.0)
    calls = [world.call(f"+1415555010{n}") for n in range(5)]
    world.clock.advance(LONG)
    first = calls[0].started_at
    assert first is not None
    assert [call.started_at for call in calls] == [first + n / 2 for n in range(5)]


def test_a_call_canceled_in_the_queue_uses_up_no_start() -> None:
    world = World(per_second=1.0)
    calls = [world.call(f"+1415555010{n}") for n in range(3)]
    world.clock.advance(0)
    world.engine.hang_up(calls[1], CallStatus.CANCELED)
    world.clock.advance(1)
    assert calls[2].started_at == world.clock.time()


def test_a_call_queued_for_a_day_fails_with_22005() -> None:
    world = World(per_second=1 / (2 * DAY))
    world.call("+14155550101")
    late = world.call()
    world.clock.advance(DAY)
    assert (late.status, late.error_code) == (CallStatus.FAILED, 22005)
    assert world.post.sent[-1].params["ErrorCode"] == "22005"


def test_each_account_has_a_rate_of_its_own() -> None:
    world = World(per_second=1.0)
    mine = world.call()
    theirs = world.engine.create("AC" + "b" * 32, mine.request, "http://carrier")
    world.clock.advance(0)
    assert (mine.status, theirs.status) == (CallStatus.INITIATED, CallStatus.INITIATED)


def test_the_most_calls_at_once_are_counted_from_accepting_to_ending() -> None:
    world = World(per_second=1.0)
    first, *_ = [world.call(f"+1415555010{n}") for n in range(3)]
    world.clock.advance(0)
    world.engine.hang_up(first, CallStatus.CANCELED)
    world.call("+14155550104")
    world.clock.advance(LONG)
    report = world.ledger.report()
    assert report.concurrent_max.account == {ACCOUNT: 3}
    assert report.concurrent_max.business == {"3": 3}
    assert report.concurrent_max.number == 1
    assert report.live == 0


def test_calls_are_counted_per_attempt_and_number(world: World) -> None:
    world.call()
    world.call()
    world.call(status_callback="https://example.com/status?attempt=8")
    report = world.ledger.report()
    assert report.calls_by_attempt == {"7": 2, "8": 1}
    assert report.attempts_called_more_than_once == ["7"]
    assert report.calls_by_number == {CALLEE: 3}


def test_a_recording_is_made_and_called_back_after_the_call(world: World) -> None:
    call = world.call(
        record=True,
        recording_callback="https://example.com/recording",
        recording_events=frozenset({"in-progress", "completed", "absent"}),
    )
    world.clock.advance(DIAL + RING + TALK)
    recording = call.recording
    assert recording is not None
    assert recording.status is RecordingStatus.PROCESSING
    world.clock.advance(RECORD)
    assert world.post.values("RecordingStatus", "recording") == ["in-progress", "completed"]
    done = world.post.sent[-1].params
    assert done["RecordingUrl"] == f"http://carrier/2010-04-01/Accounts/{ACCOUNT}/Recordings/{recording.sid}"
    assert done["RecordingDuration"] == str(round(recording.clip.seconds))
    assert done["ErrorCode"] == "0"


def test_the_last_status_callback_names_the_recording(world: World) -> None:
    call = world.call(record=True)
    world.clock.advance(LONG)
    assert call.recording is not None
    assert world.post.values("CallStatus")[-1] == "completed"
    assert world.post.sent[-1].params["RecordingSid"] == call.recording.sid


@pytest.mark.parametrize(("what", "code"), [("too_short", "16101"), ("silent", "16102")])
def test_a_recording_can_be_absent(world: World, what: str, code: str) -> None:
    world.script(OutcomeKind.ANSWER, recording=what)
    world.call(record=True, recording_callback="https://example.com/recording", recording_events=frozenset({"absent"}))
    world.clock.advance(LONG)
    assert world.post.values("RecordingStatus", "recording") == ["absent"]
    assert world.post.values("ErrorCode", "recording") == [code]
    assert "RecordingUrl" not in world.post.sent[-2].params


def test_nothing_is_recorded_when_nobody_answers(world: World) -> None:
    world.script(OutcomeKind.BUSY)
    call = world.call(record=True)
    world.clock.advance(LONG)
    assert call.recording is None


@pytest.mark.parametrize(
    ("outcome", "detection", "found"),
    [
        (OutcomeKind.ANSWER, MachineDetection.ENABLE, "human"),
        (OutcomeKind.MACHINE, MachineDetection.ENABLE, "machine_start"),
        (OutcomeKind.MACHINE, MachineDetection.DETECT_MESSAGE_END, "machine_end_beep"),
    ],
)
def test_detection_comes_before_the_twiml_request(
    world: World, outcome: OutcomeKind, detection: MachineDetection, found: str
) -> None:
    world.script(outcome)
    world.call(machine_detection=detection)
    world.clock.advance(DIAL + RING)
    assert world.post.asked == []
    world.clock.advance(DETECT)
    assert world.post.asked[0].params["AnsweredBy"] == found
    world.clock.advance(LONG)
    assert world.post.sent[-1].params["AnsweredBy"] == found


def test_asynchronous_detection_is_called_back_while_people_talk(world: World) -> None:
    world.script(OutcomeKind.MACHINE)
    world.call(machine_detection=MachineDetection.ENABLE, async_amd=True, amd_callback="https://example.com/amd")
    world.clock.advance(DIAL + RING)
    assert "AnsweredBy" not in world.post.asked[0].params
    world.clock.advance(DETECT)
    assert world.post.values("AnsweredBy", "amd") == ["machine_start"]
    assert world.post.values("MachineDetectionDuration", "amd") == ["3000"]


def test_detection_of_a_call_that_ended_first_says_nothing(world: World) -> None:
    world.script(OutcomeKind.MACHINE, talk_seconds=1)
    world.call(machine_detection=MachineDetection.ENABLE, async_amd=True, amd_callback="https://example.com/amd")
    world.clock.advance(LONG)
    assert world.post.values("AnsweredBy", "amd") == []


def test_nothing_is_going_on_once_all_calls_and_recordings_are_done(world: World) -> None:
    world.call(record=True, machine_detection=MachineDetection.ENABLE, async_amd=True)
    world.clock.advance(DIAL + RING + TALK)
    assert not world.activity.idle
    world.clock.advance(RECORD)
    assert world.activity.idle


def test_after_a_stop_no_call_moves(world: World) -> None:
    call = world.call()
    world.clock.advance(DIAL)
    world.engine.stop()
    world.clock.advance(LONG)
    assert call.status is CallStatus.RINGING


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_no_state_follows_an_end(world: World, status: CallStatus) -> None:
    call: Call = world.call()
    call.status = status
    for following in CallStatus:
        with pytest.raises(ValueError, match="a call cannot go from"):
            call.move(following, 0.0)
