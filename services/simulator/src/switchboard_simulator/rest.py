"""Twilio's REST API, version 2010-04-01, as far as calls and their recordings go."""

import re
import secrets
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials

from switchboard_simulator import errors, media, speech_library
from switchboard_simulator.calls import REST_STATUSES, Call, CallStatus, Recording, RecordingStatus
from switchboard_simulator.errors import TwilioError, not_found
from switchboard_simulator.parameters import Form, parse_create
from switchboard_simulator.register import CallFilter, Moment
from switchboard_simulator.representation import Json, account_path, call_json, page_json, recording_json
from switchboard_simulator.simulation import Simulation

DEFAULT_PAGE_SIZE = 50
LARGEST_PAGE_SIZE = 1000
_CALL_TOKEN = re.compile(r"PA(\d{1,18})")

router = APIRouter(prefix="/2010-04-01/Accounts/{account_sid}", tags=["Twilio REST API"])
basic = HTTPBasic(auto_error=False)


def current_simulation(request: Request) -> Simulation:
    """Return the simulation that this server runs."""
    simulation: Simulation = request.app.state.simulation
    return simulation


Running = Annotated[Simulation, Depends(current_simulation)]


def authenticated(
    account_sid: str, simulation: Running, credentials: Annotated[HTTPBasicCredentials | None, Depends(basic)]
) -> str:
    """Return the account, if the request is allowed to use it.

    Raises:
        TwilioError: wrong or missing credentials, or those of another account (20003).
    """
    expected = simulation.settings.auth_tokens.get(account_sid)
    if credentials is None or expected is None or credentials.username != account_sid:
        raise TwilioError(401, errors.AUTHENTICATE, "Authenticate")
    if not secrets.compare_digest(credentials.password.encode(), expected.encode()):
        raise TwilioError(401, errors.AUTHENTICATE, "Authenticate")
    return account_sid


Account = Annotated[str, Depends(authenticated)]


def wanted_call(call_sid: str, account: Account, simulation: Running, request: Request) -> Call:
    """Return the call in the path.

    Raises:
        TwilioError: the account has no such call (20404).
    """
    call = simulation.engine.register.call(account, call_sid)
    if call is None:
        raise not_found(request.url.path)
    return call


def wanted_recording(recording_sid: str, account: Account, simulation: Running, request: Request) -> Recording:
    """Return the recording in the path.

    Raises:
        TwilioError: the account has no such recording (20404).
    """
    recording = simulation.engine.register.recording(account, recording_sid)
    # A recording is found under its account and under its call.
    if recording is None or request.path_params.get("call_sid", recording.call_sid) != recording.call_sid:
        raise not_found(request.url.path)
    return recording


WantedCall = Annotated[Call, Depends(wanted_call)]
WantedRecording = Annotated[Recording, Depends(wanted_recording)]
Page = Annotated[int, Query(alias="Page", ge=0)]
PageSize = Annotated[int, Query(alias="PageSize", ge=1, le=LARGEST_PAGE_SIZE)]


@router.get(".json")
async def fetch_account(account: Account) -> Json:
    """Show the account: a cheap way to check credentials."""
    return {
        "sid": account,
        "friendly_name": "Simulated account",
        "status": "active",
        "type": "Full",
        "uri": f"{account_path(account)}.json",
    }


@router.post("/Calls.json", status_code=201)
async def create_call(account: Account, simulation: Running, request: Request) -> Json:
    """Accept a call."""
    parameters = parse_create(Form(await request.body()))
    settings = simulation.settings
    base = str(settings.public_url or request.base_url).rstrip("/")
    return call_json(simulation.engine.create(account, parameters, base))


@router.get("/Calls/{call_sid}.json")
async def fetch_call(call: WantedCall) -> Json:
    """Show a call."""
    return call_json(call)


@router.post("/Calls/{call_sid}.json")
async def update_call(call: WantedCall, simulation: Running, request: Request) -> Json:
    """Hang a call up: ``Status=canceled`` or ``Status=completed``."""
    form = Form(await request.body())
    wanted = form.text("Status")
    if wanted not in {CallStatus.CANCELED, CallStatus.COMPLETED}:
        sentence = "Status must be canceled or completed; the simulator changes nothing else about a call."
        raise TwilioError(400, errors.INVALID_PARAMETER, sentence)
    simulation.engine.hang_up(call, CallStatus(wanted))
    return call_json(call)


@router.get("/Calls.json")
async def list_calls(
    account: Account,
    simulation: Running,
    request: Request,
    page: Page = 0,
    size: PageSize = DEFAULT_PAGE_SIZE,
) -> Json:
    """List calls, newest first, by To, From, Status and StartTime."""
    query = request.query_params
    before = _token_index(query.get("PageToken"))
    calls = simulation.engine.register.newest_calls(account, _call_filter(dict(query)), before)
    return page_json(
        key="calls",
        path=request.url.path,
        query=[(name, value) for name, value in query.multi_items() if not name.startswith("Page")],
        page=page,
        size=size,
        rows=((f"PA{call.index}", call_json(call)) for call in calls),
    )


@router.get("/Calls/{call_sid}/Recordings.json")
async def list_call_recordings(
    account: Account,
    call: WantedCall,
    simulation: Running,
    request: Request,
    page: Page = 0,
    size: PageSize = DEFAULT_PAGE_SIZE,
) -> Json:
    """List the recordings of a call."""
    recordings = simulation.engine.register.recordings(account, call.sid)
    return _recordings_page(recordings, request, page, size)


@router.get("/Recordings.json")
async def list_recordings(
    account: Account, simulation: Running, request: Request, page: Page = 0, size: PageSize = DEFAULT_PAGE_SIZE
) -> Json:
    """List the recordings of the account, newest first, or those of the call ``CallSid``."""
    recordings = simulation.engine.register.recordings(account, request.query_params.get("CallSid"))
    return _recordings_page(recordings, request, page, size)


@router.get("/Recordings/{recording_sid}.json")
@router.get("/Calls/{call_sid}/Recordings/{recording_sid}.json")
async def fetch_recording(recording: WantedRecording) -> Json:
    """Show a recording."""
    return recording_json(recording)


@router.delete("/Recordings/{recording_sid}.json", status_code=204)
@router.delete("/Calls/{call_sid}/Recordings/{recording_sid}.json", status_code=204)
async def delete_recording(recording: WantedRecording, simulation: Running) -> None:
    """Delete a recording and its media."""
    simulation.engine.register.remove_recording(recording)


@router.get("/Recordings/{recording_sid}.wav", response_class=Response)
async def fetch_wav(recording: WantedRecording, simulation: Running, request: Request) -> Response:
    """Download a recording as WAV."""
    return _download(recording, "wav", simulation, request)


@router.get("/Recordings/{recording_sid}.mp3", response_class=Response)
async def fetch_mp3(recording: WantedRecording, simulation: Running, request: Request) -> Response:
    """Download a recording as MP3."""
    return _download(recording, "mp3", simulation, request)


def _download(recording: Recording, form: str, simulation: Simulation, request: Request) -> Response:
    ready = recording.status is RecordingStatus.COMPLETED and simulation.clock.time() >= recording.media_from
    if not ready:
        simulation.ledger.recordings["asked_too_early"] += 1
        raise not_found(request.url.path)
    simulation.ledger.recordings["downloads"] += 1
    content = speech_library.media(recording.clip.file if form == "wav" else recording.clip.mp3)
    part = media.cut(content, request.headers.get("range"))
    headers = {"ETag": f'"{recording.sid}-{form}"', **part.headers}
    return Response(part.content, part.status, headers, media.MEDIA_TYPES[form])


def _recordings_page(recordings: list[Recording], request: Request, page: int, size: int) -> Json:
    query = request.query_params.multi_items()
    rows = ((f"PA{recording.sid}", recording_json(recording)) for recording in recordings[page * size :])
    return page_json(
        key="recordings",
        path=request.url.path,
        query=[(name, value) for name, value in query if not name.startswith("Page")],
        page=page,
        size=size,
        rows=rows,
    )


def _token_index(token: str | None) -> int | None:
    if token is None:
        return None
    found = _CALL_TOKEN.fullmatch(token)
    if found is None:
        raise TwilioError(400, errors.INVALID_PARAMETER, "PageToken is not one that a page of calls gave out.")
    return int(found[1])


def _call_filter(query: dict[str, str]) -> CallFilter:
    status = query.get("Status")
    if status is not None and status not in REST_STATUSES:
        known = ", ".join(sorted(REST_STATUSES))
        raise TwilioError(400, errors.INVALID_PARAMETER, f"Status must be one of {known}.")
    try:
        within, before, after = (
            Moment.parse(query[name]) if query.get(name) else None for name in ("StartTime", "StartTime<", "StartTime>")
        )
    except ValueError as error:
        sentence = "StartTime must be a date (2026-01-26) or a date with a time (2026-01-26T11:05:20Z)."
        raise TwilioError(400, errors.INVALID_PARAMETER, sentence) from error
    return CallFilter(
        to=query.get("To"),
        from_=query.get("From"),
        status=CallStatus(status) if status else None,
        started_in=within,
        started_before=before,
        started_after=after,
    )


def twilio_error_response(error: TwilioError) -> JSONResponse:
    """Return an error as the REST API shows it."""
    headers = {"WWW-Authenticate": 'Basic realm="Twilio API"'} if error.code == errors.AUTHENTICATE else None
    return JSONResponse(error.body(), error.status, headers)
