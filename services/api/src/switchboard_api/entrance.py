"""Who may come in: API keys are looked up, and an address that keeps sending wrong ones has to wait."""

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.requests import HTTPConnection

from switchboard_api.addresses import ClientAddresses
from switchboard_api.ratelimit import RateLimiter
from switchboard_core.db import Database
from switchboard_core.logs import get_logger
from switchboard_core.tenancy.service import AuthenticationError, Caller, authenticate

log = get_logger(__name__)

MOST_PROVEN = 10_000
"""Keys that a process remembers to be good."""


class TooManyFailuresError(Exception):
    """The address has sent too many wrong keys; the message says what to do.

    Attributes:
        wait_s: seconds until it may try again.
    """

    def __init__(self, wait_s: int) -> None:
        super().__init__(f"Too many wrong keys came from your address: check your key, wait {wait_s} s, then go on.")
        self.wait_s = wait_s


class Entrance:
    """Looks keys up, and limits the failures of each client address.

    The allowance is taken before a key is looked up and given back when it is good, so that guesses in parallel get no
    further than guesses in turn. A key that has worked in this process is looked up without it: whoever shares an
    address with a guesser, behind one proxy say, goes on working.

    Args:
        database: of the process.
        limiter: shared by all replicas.
        addresses: whom a failure is held against.
        failures_per_minute: of one address.
    """

    def __init__(
        self, database: Database, limiter: RateLimiter, addresses: ClientAddresses, failures_per_minute: int
    ) -> None:
        self._database = database
        self._limiter = limiter
        self._addresses = addresses
        self._per_minute = failures_per_minute
        self._proven: OrderedDict[bytes, None] = OrderedDict()
        self._lock = threading.Lock()

    def identify(self, connection: HTTPConnection, secret: str) -> Caller:
        """Who holds this secret.

        Raises:
            AuthenticationError: it is unknown, expired or revoked.
            TooManyFailuresError: the client's address has failed too often.
        """
        digest = hashlib.sha256(secret.encode()).digest()
        if self._is_proven(digest):
            try:
                return authenticate(self._database, secret)
            except AuthenticationError:
                # Revoked or expired meanwhile: from now on it counts as a guess.
                self._forget(digest)
        with self.attempt(connection):
            caller = authenticate(self._database, secret)
        self._remember(digest)
        return caller

    @contextmanager
    def attempt(self, connection: HTTPConnection) -> Iterator[None]:
        """One try to come in; only one that ends with ``AuthenticationError`` counts.

        Raises:
            TooManyFailuresError: the client's address has failed too often.
        """
        address = self._addresses.of(connection)
        bucket = f"failed:{address}"
        if wait_s := self._limiter.wait_s(bucket, self._per_minute):
            log.warning("too many wrong keys from an address", address=address, wait_s=wait_s)
            raise TooManyFailuresError(wait_s)
        try:
            yield
        except AuthenticationError:
            raise
        except BaseException:
            self._limiter.give_back(bucket, self._per_minute)
            raise
        self._limiter.give_back(bucket, self._per_minute)

    def _is_proven(self, digest: bytes) -> bool:
        with self._lock:
            if digest not in self._proven:
                return False
            self._proven.move_to_end(digest)
            return True

    def _remember(self, digest: bytes) -> None:
        with self._lock:
            self._proven[digest] = None
            if len(self._proven) > MOST_PROVEN:
                self._proven.popitem(last=False)

    def _forget(self, digest: bytes) -> None:
        with self._lock:
            self._proven.pop(digest, None)
