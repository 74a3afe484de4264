"""A call that is to be hung up is hung up, however often the carrier was away when it was asked."""

from dataclasses import replace

from integration.calls_carrier import DisturbedCarrier
from integration.calls_support import CallsBench, numbers
from switchboard_core.calls.carrier import CarrierUnavailableError
from switchboard_core.calls.cleanup import settle_silent
from switchboard_core.calls.pump import hang_up_requested
from switchboard_core.calls.schemas import CleanupReport

(LEAD,) = numbers(1)


class _Refusing(DisturbedCarrier):
    """Ends no call."""

    def hang_up(self, call_sid: str) -> None:
        raise CarrierUnavailableError(call_sid)


def test_a_machine_that_the_carrier_did_not_hang_up_on_at_once_is_hung_up_on_by_the_sweep(bench: CallsBench) -> None:
    bench.script(LEAD, "machine", talk_seconds=600)
    run = bench.start(LEAD, machine_detection="hangup")
    bench.dial()
    bench.await_true(lambda: bench.attempt(LEAD)["hangup_requested_at"] is not None, "the word of a machine")
    bench.await_status(LEAD, "in_progress")
    refusing = replace(bench.runtime, carrier=_Refusing(bench.runtime.carrier))
    assert hang_up_requested(refusing, bench.business_id) == 0
    bench.runtime.redis.flushall()  # no lead is left for whom the pump would be woken again
    for runtime in (refusing, bench.runtime):
        assert bench.report()["live"] == 1
        bench.age(15.1)
        assert settle_silent(runtime) == CleanupReport(attempts_checked=1)
    bench.await_status(LEAD, "completed")
    assert bench.report()["live"] == 0
    bench.slices(run)
    bench.check(at_rest=True)
