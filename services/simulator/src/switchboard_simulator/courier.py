"""Brings callbacks to the customer's server: signed, in order, retried once, and damaged where the faults say so."""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from http import HTTPStatus
from urllib.parse import urldefrag, urlencode

import httpx
from twilio.request_validator import RequestValidator

from switchboard_core.logs import get_logger
from switchboard_simulator.activity import Activity
from switchboard_simulator.callbacks import Webhook
from switchboard_simulator.clock import Clock
from switchboard_simulator.faults import Dice
from switchboard_simulator.ledger import Ledger

CONNECT_SECONDS = 5.0
TOTAL_SECONDS = 15.0
TRIES = 2

logger = get_logger(__name__)


def http_client() -> httpx.AsyncClient:
    """Return a client with the carrier's time-outs, for all callbacks of a simulator."""
    return httpx.AsyncClient(
        timeout=httpx.Timeout(TOTAL_SECONDS, connect=CONNECT_SECONDS),
        limits=httpx.Limits(max_connections=200, max_keepalive_connections=50),
        # A proxy of the environment is not meant for a server that is being developed on this machine.
        trust_env=False,
    )


def signed_request(client: httpx.AsyncClient, webhook: Webhook, auth_token: str) -> httpx.Request:
    """Build the request for a webhook, with ``X-Twilio-Signature`` and ``I-Twilio-Idempotency-Token``."""
    url = urldefrag(webhook.url).url
    params = webhook.params
    if webhook.method == "GET":
        url = f"{url}{'&' if '?' in url else '?'}{urlencode(params)}"
        params = {}
    # What is signed is the URL as httpx will send it, which escapes what the customer did not.
    target = httpx.URL(url)
    headers = {
        "X-Twilio-Signature": RequestValidator(auth_token).compute_signature(str(target), params),
        "I-Twilio-Idempotency-Token": webhook.token,
        "User-Agent": "TwilioProxy/1.1",
        "Accept": "*/*",
    }
    return client.build_request(webhook.method, target, data=params or None, headers=headers)


class Courier:
    """Carries webhooks; the engine's door to the world.

    The callbacks of a call or a message leave one after the other, so that without faults they arrive in order.

    Args:
        client: for all requests; the owner closes it.
        auth_tokens: per account, to sign with.
        clock: for delays.
        dice: decide about faults.
        ledger: told what was sent and what became of it.
        activity: told what is on its way.
    """

    def __init__(
        self,
        *,
        client: httpx.AsyncClient,
        auth_tokens: Mapping[str, str],
        clock: Clock,
        dice: Dice,
        ledger: Ledger,
        activity: Activity,
    ) -> None:
        self.dice = dice
        self._client = client
        self._auth_tokens = auth_tokens
        self._clock = clock
        self._ledger = ledger
        self._activity = activity
        self._last_of: dict[str, asyncio.Task[None]] = {}
        self._held: defaultdict[str, list[Webhook]] = defaultdict(list)
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopped = False

    def stop(self) -> None:
        """Drop everything that is on its way."""
        self._stopped = True
        for task in self._tasks:
            task.cancel()

    def notify(self, webhook: Webhook) -> None:
        """Send a callback, unless the dice lose it; perhaps late, twice or out of order."""
        fate = self.dice.callback()
        if fate.lost:
            self._ledger.callbacks["lost"] += 1
            return
        if fate.copy_after is not None:
            self._ledger.callbacks["duplicated"] += 1
            self._later(fate.copy_after, webhook)
        if fate.held:
            self._ledger.callbacks["reordered"] += 1
            self._hold(webhook)
        elif fate.delay:
            self._ledger.callbacks["delayed"] += 1
            self._later(fate.delay, webhook)
        else:
            self._activity.begin()
            self._dispatch(webhook)
            self._release(webhook.sid)

    def fetch(self, webhook: Webhook, arrived: Callable[[str | None], None]) -> None:
        """Ask for TwiML and hand over the document, or nothing if the server gave none."""
        self._activity.begin()
        self._start(partial(self._fetch, webhook, arrived))

    def _later(self, seconds: float, webhook: Webhook) -> None:
        self._activity.begin()
        self._clock.call_later(seconds, partial(self._dispatch, webhook))

    def _hold(self, webhook: Webhook) -> None:
        self._activity.begin()
        self._held[webhook.sid].append(webhook)
        self._clock.call_later(self.dice.faults.callback_hold_seconds, partial(self._release, webhook.sid))

    def _release(self, sid: str) -> None:
        for webhook in self._held.pop(sid, []):
            self._dispatch(webhook)

    def _dispatch(self, webhook: Webhook) -> None:
        """Queue a callback behind the others of its call or message."""
        if self._stopped:
            return
        task = self._start(partial(self._deliver, webhook, self._last_of.get(webhook.sid)))
        self._last_of[webhook.sid] = task
        task.add_done_callback(partial(self._forget, webhook.sid))

    def _forget(self, sid: str, task: asyncio.Task[None]) -> None:
        if self._last_of.get(sid) is task:
            del self._last_of[sid]

    def _start(self, work: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        async def run() -> None:
            try:
                await work()
            finally:
                self._activity.end()

        task = asyncio.get_running_loop().create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _deliver(self, webhook: Webhook, after: asyncio.Task[None] | None) -> None:
        if after is not None:
            await asyncio.wait([after])
        self._ledger.callbacks["sent"] += 1
        response = await self._send(webhook)
        if response is None:
            self._ledger.callbacks["unreachable"] += 1
        elif response.is_success:
            self._ledger.callbacks["delivered"] += 1
        else:
            self._ledger.callbacks["refused"] += 1
            logger.warning("CALLBACK REFUSED", kind=webhook.kind, sid=webhook.sid, status=response.status_code)

    async def _fetch(self, webhook: Webhook, arrived: Callable[[str | None], None]) -> None:
        response = await self._send(webhook)
        found = response is not None and response.status_code == HTTPStatus.OK
        if response is not None and not found:
            logger.warning("TWIML REFUSED", sid=webhook.sid, status=response.status_code)
        arrived(response.text if response is not None and found else None)

    async def _send(self, webhook: Webhook) -> httpx.Response | None:
        """Send a request, and once more if no answer came; give up after the carrier's total time."""
        request = signed_request(self._client, webhook, self._auth_tokens[webhook.account_sid])
        problem: Exception | None = None
        try:
            async with asyncio.timeout(TOTAL_SECONDS):
                for attempt in range(TRIES):
                    self._ledger.callbacks["retried"] += attempt
                    try:
                        return await self._client.send(request)
                    except httpx.TransportError as error:
                        problem = error
        except TimeoutError as error:
            problem = error
        logger.warning("CALLBACK UNREACHABLE", kind=webhook.kind, sid=webhook.sid, problem=type(problem).__name__)
        return None
