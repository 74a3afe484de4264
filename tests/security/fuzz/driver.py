"""Makes requests up from the OpenAPI document: operation by operation, then chains that use what came back."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random
from typing import Any

import hypothesis
import schemathesis
from hypothesis import HealthCheck, Phase, strategies
from hypothesis.errors import Flaky
from schemathesis import GenerationMode
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation

from security.fuzz.chains import chain_of
from security.fuzz.links import with_links
from security.fuzz.sender import AnyCase, Sender

EXAMPLES = 10
"""Requests of an operation before the next one's turn."""
CHAINED = 0.3
"""Share of the requests that are sent in chains."""
STEPS = 10
"""Requests in a chain."""
CHAINS = 20
"""Chains from one seed."""
WRONG_ON_PURPOSE = 8
"""One request in so many breaks the description on purpose."""


@dataclass
class Fuzz:
    """The description and who sends.

    Attributes:
        sender: people and their findings.
        document: OpenAPI.
        seed: the same one makes the same requests up.
        breaks: whether some requests break the description on purpose, which takes most of the time.
    """

    sender: Sender
    document: dict[str, Any]
    seed: int
    breaks: bool = True
    _said: int = 0

    def run(self, requests: int, say: Callable[[str], None] = lambda _: None) -> None:
        """Send at least so many requests."""
        schema = schemathesis.openapi.from_dict(with_links(self.document))
        seeds = Random(self.seed)
        operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
        until = requests * (1 - CHAINED)
        while self.sender.requests < until:
            seeds.shuffle(operations)
            for operation in operations:
                left = until - self.sender.requests
                if left <= 0:
                    break
                examples = min(EXAMPLES, max(1, int(until / len(operations))))
                self._each(operation, seeds.randrange(2**32), examples)
            self._say_progress(say)
        while self.sender.requests < requests:
            chains = min(CHAINS, max(1, (requests - self.sender.requests) // STEPS + 1))
            self._chains(schema, seeds.randrange(2**32), chains)
            self._say_progress(say)

    def _say_progress(self, say: Callable[[str], None]) -> None:
        """How far it is, with the defects that are new: a run that is stopped has not been in vain."""
        for defect in list(self.sender.defects.values())[self._said :]:
            say(f"\n{defect}\n")
        self._said = len(self.sender.defects)
        say(f"{self.sender.requests} requests, {self._said} defects")

    def _each(self, operation: APIOperation[Any, Any, Any, Any], seed: int, examples: int) -> None:
        sender = self.sender
        cases = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
        if self.breaks and _can_be_wrong(operation):
            wrong = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
            cases = strategies.one_of(*[cases] * (WRONG_ON_PURPOSE - 1), wrong)

        @hypothesis.seed(seed)
        @_generating(examples)
        @hypothesis.given(cases)
        def once(case: AnyCase) -> None:
            sender.send(case, sender.anybody())

        once()

    def _chains(self, schema: Any, seed: int, chains: int) -> None:
        machine = hypothesis.seed(seed)(chain_of(schema.as_state_machine(), self.sender, seed))
        # The api remembers what earlier chains did, so the same step may be answered differently: Hypothesis, which
        # wants to see a pure function, then ends this seed, and the next one goes on.
        with suppress(Flaky):
            machine.run(settings=hypothesis.settings(_generating(chains), stateful_step_count=STEPS))


def _can_be_wrong(operation: APIOperation[Any, Any, Any, Any]) -> bool:
    return bool(operation.path_parameters or operation.query or operation.body)


def _generating(examples: int) -> hypothesis.settings:
    return hypothesis.settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
