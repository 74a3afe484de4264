"""Sends made-up requests as people of two businesses, and judges what comes back."""

import json
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import parse_qsl

import schemathesis
from requests import PreparedRequest, Request, Session
from requests import Response as HttpResponse
from schemathesis import Response
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from twilio.request_validator import RequestValidator

from integration.api_support import TOKEN, RunningApi
from security.world import Marked
from switchboard_core.tenancy.models import Role
from switchboard_core.tenancy.service import create_api_key

AnyCase = schemathesis.Case[Any]

CHECKS = [status_code_conformance, content_type_conformance, response_schema_conformance]
SUBSTITUTED = 0.6
"""Share of the ids that are replaced by one that somebody has."""
SIGNED = 0.8
"""Share of the webhooks that carry the carrier's signature."""
DOCUMENTED = 0.75
"""Share of the chains' beginnings that are the documented example."""
STAYS = 0.5
"""Share of the steps of a chain that the person goes on with whose answer is followed."""
WHOLE_BODY = "the whole body"
"""Stands for a body that came from an earlier answer, beside the names of parameters that did."""
TIMEOUT_S = 60.0
SHOWN = 600


@dataclass
class Person:
    """A key of one of the businesses, renewed when the fuzz revokes it."""

    business: int
    role: Role
    secret: str


@dataclass(frozen=True)
class Defect:
    """What must not be, with the request that shows it."""

    kind: str
    operation: str
    sentence: str
    request: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.operation}\n  {self.sentence}\n  {self.request}"


@dataclass(frozen=True)
class Taken:
    """What a step of a chain takes from an earlier answer.

    Attributes:
        source: operation that gave the answer.
        business: of the person who was answered.
        names: parameters, and fields of the body, that come from it.
    """

    source: str
    business: int
    names: frozenset[str]


@dataclass
class Chained:
    """Requests that were sent in chains.

    Attributes:
        begun: chains, by the operation that they began with.
        steps: all of them.
        linked: those that took an id, or a body, from an earlier answer of their chain.
        strangers: those of ``linked`` that were sent by somebody of another business than the answer's.
        followed: those of ``linked`` that succeeded, by the operations that gave and took.
    """

    begun: Counter[str] = field(default_factory=Counter)
    steps: int = 0
    linked: int = 0
    strangers: int = 0
    followed: Counter[tuple[str, str]] = field(default_factory=Counter)


@dataclass
class Sender:
    """The people, the requests so far and what was wrong.

    Attributes:
        api: the server.
        actors: the businesses whose people send.
        bystander: a business that sends nothing, but whose ids are tried.
        random: decides who sends and which ids are real.
        chained: what the chains have come to.
    """

    api: RunningApi
    actors: Sequence[Marked]
    bystander: Marked
    random: Random
    people: list[Person] = field(default_factory=list)
    statuses: Counter[int] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    successes: Counter[str] = field(default_factory=Counter)
    foreign_ids: int = 0
    chained: Chained = field(default_factory=Chained)
    defects: dict[tuple[str, str], Defect] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.people = [
            Person(index, role, marked.tenant.secrets[role])
            for index, marked in enumerate(self.actors)
            for role in Role
        ]
        self._session = Session()
        self._session.trust_env = False
        self._signer = RequestValidator(TOKEN)

    @property
    def requests(self) -> int:
        """How many were sent."""
        return self.statuses.total()

    def anybody(self) -> Person:
        """Who sends the next request."""
        return self.random.choice(self.people)

    def owner(self) -> Person:
        """Who begins a chain: the only one who may do everything."""
        return self.random.choice([person for person in self.people if person.role is Role.OWNER])

    def beginning(self, roots: Sequence[str]) -> str:
        """With which operation a chain begins: one of those that the fewest began with."""
        label = min(self.random.sample(roots, len(roots)), key=lambda root: self.chained.begun[root])
        self.chained.begun[label] += 1
        return label

    def follower(self, case: AnyCase, answered: Person) -> Person:
        """Who goes on with an answer: in half of the cases the one who got it, else anybody.

        Nobody else writes down the words of a business: what a business wrote itself would look like a leak later.
        """
        told = leaked(str(case.body), "", [self.actors[answered.business]])
        return answered if told or self.random.random() < STAYS else self.anybody()

    def keeps_to_documentation(self) -> bool:
        """Whether the request that begins a chain is the documented one."""
        return self.random.random() < DOCUMENTED

    def send_in_chain(self, case: AnyCase, person: Person, taken: Taken | None) -> Response:
        """Send a step of a chain; what was ``taken`` from an earlier answer stays as it is."""
        response = self.send(case, person, taken)
        self.chained.steps += 1
        if taken is not None and taken.names:
            self.chained.linked += 1
            self.chained.strangers += taken.business != person.business
            self.chained.followed[taken.source, case.operation.label] += response.status_code < 400
        return response

    def send(self, case: AnyCase, person: Person, taken: Taken | None = None) -> Response:
        """Send a case as a person, with ids that somebody has put into it, those ``taken`` excepted, and judge it."""
        owners = self._with_real_ids(case, taken.names if taken else frozenset())
        if taken is not None:
            owners |= {taken.business for name in taken.names & set(case.path_parameters or {}) if _is_row(case, name)}
        prepared = self._prepared(case, person)
        answer = self._session.send(prepared, timeout=TIMEOUT_S, allow_redirects=False)
        response = Response.from_any(answer)
        label = case.operation.label
        self.statuses[answer.status_code] += 1
        self.operations[label] += 1
        self.successes[label] += answer.ok
        self._judge(case, answer, person, owners)
        if answer.status_code == 401:
            self._renew(person)
        return response

    # Requests

    def _with_real_ids(self, case: AnyCase, kept: Collection[str]) -> set[int]:
        """Replace ids by real ones of anybody; returns whose the ids of the path are."""
        owners = set()
        for name in case.path_parameters or {}:
            if name not in kept and self.random.random() < SUBSTITUTED:
                index, marked = self._somebody()
                try:
                    case.path_parameters[name] = marked.id_of(case.path, name)
                except KeyError:
                    continue
                if name != "channel":  # a word that everybody uses, and nobody's row
                    owners.add(index)
        for container in (case.query, None if WHOLE_BODY in kept else case.body):
            self._replace_ids(container, kept)
        return owners

    def _somebody(self) -> tuple[int, Marked]:
        index = self.random.randrange(len(self.actors) + 1)
        return index, [*self.actors, self.bystander][index]

    def _replace_ids(self, value: Any, kept: Collection[str]) -> None:
        """Replace ids below a value, in place."""
        if isinstance(value, dict):
            for name, inner in value.items():
                if name in kept:
                    continue
                marked = self._somebody()[1]
                if name in marked.ids and isinstance(inner, int) and self.random.random() < SUBSTITUTED:
                    value[name] = marked.ids[name]
                else:
                    self._replace_ids(inner, kept)
        elif isinstance(value, list):
            for inner in value:
                self._replace_ids(inner, kept)

    def _prepared(self, case: AnyCase, person: Person) -> PreparedRequest:
        kwargs = case.as_transport_kwargs(base_url=self.api.url)
        kwargs.pop("timeout", None)
        prepared = self._session.prepare_request(Request(**_known(kwargs)))
        if case.path.startswith("/webhooks/"):
            if self.random.random() < SIGNED:
                self._sign(prepared)
        else:
            prepared.headers["Authorization"] = f"Bearer {person.secret}"
        return prepared

    def _sign(self, prepared: PreparedRequest) -> None:
        body = prepared.body or b""
        content = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
        form = dict(parse_qsl(content, keep_blank_values=True))
        url = self.api.runtime.settings.public_url + str(prepared.path_url)
        prepared.headers["X-Twilio-Signature"] = self._signer.compute_signature(url, form)

    def _renew(self, person: Person) -> None:
        """A key that the fuzz has revoked is replaced, so that its person goes on."""
        with self.api.runtime.database.tenant(self.actors[person.business].tenant.id) as session:
            person.secret = create_api_key(session, person.role.value, person.role)[1]

    # Answers

    def _judge(self, case: AnyCase, answer: HttpResponse, person: Person, owners: set[int]) -> None:
        for kind, sentence in self._wrong(case, answer, person, owners):
            label = case.operation.label
            if (kind, label) not in self.defects:
                self.defects[kind, label] = Defect(kind, label, sentence, _shown(answer.request, person))

    def _wrong(
        self, case: AnyCase, answer: HttpResponse, person: Person, owners: set[int]
    ) -> Iterator[tuple[str, str]]:
        said = f"{answer.status_code} {answer.text[:SHOWN]}"
        if answer.status_code >= 500:
            yield "server error", said
            return
        others = [marked for index, marked in enumerate([*self.actors, self.bystander]) if index != person.business]
        for private in leaked(answer.text, _as_sent(answer.request), others):
            yield "leak", f"{private} is of another business: {said}"
        if owners - {person.business}:
            self.foreign_ids += 1
            if answer.ok:
                yield "foreign id", f"the id is of another business: {said}"
        try:
            case.validate_response(answer, checks=CHECKS)
        except (Failure, FailureGroup) as error:
            yield "not as described", _first_line(error)


def _is_row(case: AnyCase, name: str) -> bool:
    """Whether a parameter of the path names one row of one business: hashes, channels and tokens do not."""
    return isinstance(case.path_parameters[name], int)


def _known(kwargs: dict[str, Any]) -> dict[str, Any]:
    names = {"method", "url", "headers", "files", "data", "json", "params", "cookies"}
    return {name: value for name, value in kwargs.items() if name in names}


def leaked(answer: str, sent: str, others: Iterable[Marked]) -> list[str]:
    """What an answer tells of other businesses and the request did not say itself."""
    return [private for marked in others for private in marked.private() if private in answer and private not in sent]


def _as_sent(request: PreparedRequest) -> str:
    return f"{request.url} {request.body!r}"


def _text(request: PreparedRequest) -> str:
    body = request.body or b""
    return body.decode("latin-1") if isinstance(body, bytes) else str(body)


def _header(request: PreparedRequest, name: str) -> str:
    value = request.headers.get(name, "")
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _first_line(error: BaseException) -> str:
    failures = error.exceptions if isinstance(error, FailureGroup) else [error]
    return re.sub(r"\s+", " ", " / ".join(f"{type(one).__name__}: {one}" for one in failures))[:SHOWN]


def _shown(request: PreparedRequest, person: Person) -> str:
    body = _text(request)
    kind = _header(request, "Content-Type") or "no body"
    key = _header(request, "Idempotency-Key")
    more = f" Idempotency-Key={key}" if key else ""
    return f"as {person.role.value}: {request.method} {request.path_url} {kind}{more} {json.dumps(body[:SHOWN])}"
