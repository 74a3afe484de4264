"""Chains of requests: an owner begins, and whoever goes on takes something from an earlier answer."""

from collections.abc import Collection
from copy import deepcopy
from typing import Any

from schemathesis import Response
from schemathesis.generation.stateful.control import TransitionController, Transitions
from schemathesis.generation.stateful.state_machine import APIStateMachine, StepInput, StepOutput

from security.fuzz.sender import WHOLE_BODY, AnyCase, Person, Sender, Taken


class Following(TransitionController):
    """Begins where it is told, and anew only when no answer leads on, each time with another operation.

    Schemathesis itself prefers to follow only after two calls of each of 40 roots, which no chain is long enough for.
    """

    def __init__(self, transitions: Transitions, roots: Collection[str], beginning: str) -> None:
        super().__init__(transitions, roots)
        self.beginning = beginning

    def allow_root_transition(self, source: str, bundles: Any) -> bool:
        if not self.statistic:
            return source == self.beginning
        if source not in self.roots or source in self.statistic:
            return False
        answered = {
            label
            for name, answers in bundles.items()
            if answers
            for label in self.transitions.producer_labels_for_bundle(name)
        }
        return not any(
            self.allow_transition(label, link.target.label)
            for label in answered
            for link in self.transitions.operations[label].outgoing
        )


def chain_of(machine: Any, sender: Sender, seed: int) -> type[APIStateMachine]:
    """A machine of Schemathesis, whose steps the people of a sender send."""

    class Chain(machine):  # type: ignore[misc]
        """Goes from answer to answer."""

        rule_order_seed = seed

        def setup(self) -> None:
            # An id that a root would have to make up is one that a list gives.
            roots = sorted(label for label in self._root_labels if "{" not in label)
            self.control = Following(self._transitions, roots, sender.beginning(roots))
            self.first = sender.owner()
            self.answered: dict[str, tuple[AnyCase, Person]] = {}

        def step(self, input: StepInput) -> StepOutput:  # noqa: A002 - Schemathesis' own name
            self.person, self.taken = self.first, None
            if input.transition is not None:
                source, asked = self.answered[input.transition.parent_id]
                self.person = sender.follower(input.case, asked)
                names = frozenset(name or WHOLE_BODY for _, name in input.applied_parameters)
                self.taken = Taken(source.operation.label, asked.business, names)
            elif sender.keeps_to_documentation():
                as_documented(input.case)
            self.answered[input.case.id] = input.case, self.person
            done: StepOutput = super().step(input)
            return done

        def _add_results_to_targets(self, targets: tuple[str, ...], results: list[StepOutput | None]) -> None:
            # An empty list leads nowhere: what follows from it would have to be made up.
            fruitful = [result for result in results if result is not None and self._feeds_later_steps(result)]
            super()._add_results_to_targets(targets, fruitful)

        def call(self, case: AnyCase, **_: Any) -> Response:
            return sender.send_in_chain(case, self.person, self.taken)

        def validate_response(self, *_: Any, **__: Any) -> None:
            """Judged where it was sent."""

    return Chain


def as_documented(case: AnyCase) -> None:
    """Put the documented example in place of what was made up, and leave out what is optional."""
    operation = case.operation
    optional = {parameter.name for parameter in [*operation.query, *operation.headers] if not parameter.is_required}
    for container in (case.query, case.headers):
        for name in optional & set(container or {}):
            del container[name]
    content = operation.definition.raw.get("requestBody", {}).get("content", {})
    if "example" in content.get(case.media_type, {}):
        case.body = deepcopy(content[case.media_type]["example"])
