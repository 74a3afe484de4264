"""``switchboard leads delete|update|delete-import|restore``: change many leads at once, after a look at which ones."""

from collections.abc import Callable
from typing import Annotated, Any

import typer

from switchboard_cli.client import ApiClient
from switchboard_cli.errors import CliError
from switchboard_cli.follow import follow_task
from switchboard_cli.options import DEFAULT_URL, ApiKey, AsJson, Url
from switchboard_cli.output import Json, Output, clean
from switchboard_cli.watching import sight_of_task, watch

DELETE_EXAMPLE = "Example: [bold]switchboard leads delete --tag spring --watch[/bold]"
UPDATE_EXAMPLE = "Example: [bold]switchboard leads update --tag spring --add-tag called --set plan=pro[/bold]"
DELETE_IMPORT_EXAMPLE = "Example: [bold]switchboard leads delete-import 3[/bold]"
RESTORE_EXAMPLE = "Example: [bold]switchboard leads restore 123[/bold]"

_WHICH = "Which leads"
Ids = Annotated[list[int] | None, typer.Option("--lead", help="This lead, by id; repeatable.", rich_help_panel=_WHICH)]
Tags = Annotated[
    list[str] | None, typer.Option("--tag", help="Has this tag; repeated: one of them.", rich_help_panel=_WHICH)
]
ImportId = Annotated[int | None, typer.Option("--import-id", help="Was in this import last.", rich_help_panel=_WHICH)]
Zone = Annotated[str | None, typer.Option("--in-timezone", help="Has this IANA zone.", rich_help_panel=_WHICH)]
OnList = Annotated[
    bool | None,
    typer.Option("--do-not-call/--callable", help="Is, or is not, on the do-not-call list.", rich_help_panel=_WHICH),
]
EveryLead = Annotated[bool, typer.Option("--all", help="Every lead.", rich_help_panel=_WHICH)]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
WatchIt = Annotated[bool, typer.Option("--watch", help="Watch the task until its end.")]


def delete(
    ids: Ids = None,
    tags: Tags = None,
    import_id: ImportId = None,
    in_timezone: Zone = None,
    do_not_call: OnList = None,
    every_lead: EveryLead = False,
    yes: Yes = False,
    watch_it: WatchIt = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Delete leads, after showing how many and some of them.

    Works in the background. `switchboard leads restore` brings them back within the retention window.
    """
    wanted = lead_filter(ids, tags, import_id, in_timezone, do_not_call, every_lead)
    with ApiClient(url, api_key) as api:
        job = _Job(api, Output(as_json=as_json), yes=yes, watch_it=watch_it)
        job.run({"filter": wanted}, "Delete {count} leads?", lambda: _post(api, "bulk-delete", {"filter": wanted}))


def update(
    add_tag: Annotated[list[str] | None, typer.Option(help="Add this tag; repeatable.")] = None,
    remove_tag: Annotated[list[str] | None, typer.Option(help="Remove this tag; repeatable.")] = None,
    timezone: Annotated[str | None, typer.Option(help="Set this IANA time zone.")] = None,
    set_attribute: Annotated[
        list[str] | None, typer.Option("--set", help="name=value: set this attribute; repeatable.")
    ] = None,
    unset: Annotated[list[str] | None, typer.Option(help="Remove the attribute of this name; repeatable.")] = None,
    ids: Ids = None,
    tags: Tags = None,
    import_id: ImportId = None,
    in_timezone: Zone = None,
    do_not_call: OnList = None,
    every_lead: EveryLead = False,
    yes: Yes = False,
    watch_it: WatchIt = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Change leads, after showing how many and some of them. Works in the background."""
    wanted = lead_filter(ids, tags, import_id, in_timezone, do_not_call, every_lead)
    changes = lead_changes(add_tag, remove_tag, timezone, set_attribute, unset)
    with ApiClient(url, api_key) as api:
        job = _Job(api, Output(as_json=as_json), yes=yes, watch_it=watch_it)
        order = {"filter": wanted, "changes": changes}
        job.run({"filter": wanted}, "Change {count} leads?", lambda: _post(api, "bulk-update", order))


def delete_import(
    import_id: Annotated[int, typer.Argument(help="Id of the import.", min=1)],
    yes: Yes = False,
    watch_it: WatchIt = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Delete the leads that an import created; those that it only updated are left alone.

    Works in the background. `switchboard leads restore` brings them back within the retention window.
    """
    with ApiClient(url, api_key) as api:
        job = _Job(api, Output(as_json=as_json), yes=yes, watch_it=watch_it)
        job.run(
            {"created_by_import": import_id},
            "Delete {count} leads?",
            lambda: _post(api, f"imports/{import_id}/delete"),
        )


def restore(
    task_id: Annotated[int, typer.Argument(help="Id of the task that deleted leads.", min=1)],
    yes: Yes = False,
    watch_it: WatchIt = False,
    url: Url = DEFAULT_URL,
    api_key: ApiKey = "",
    as_json: AsJson = False,
) -> None:
    """Bring back what a task has deleted. Works in the background.

    A lead whose number was imported anew meanwhile stays deleted and is listed in the errors of the task.
    """
    with ApiClient(url, api_key) as api:
        job = _Job(api, Output(as_json=as_json), yes=yes, watch_it=watch_it)
        job.confirm(f"Restore the leads that task {task_id} deleted?")
        job.follow(_post(api, "restore", {"task_id": task_id}))


def lead_filter(
    ids: list[int] | None,
    tags: list[str] | None,
    import_id: int | None,
    timezone: str | None,
    do_not_call: bool | None,
    every_lead: bool,
) -> Json:
    """The api's filter from options.

    Raises:
        CliError: no lead was named, or every lead and some.
    """
    wanted: dict[str, Any] = {
        "ids": ids or None,
        "tags": tags or None,
        "import_id": import_id,
        "timezone": timezone,
        "do_not_call": do_not_call,
    }
    narrowed = {name: value for name, value in wanted.items() if value is not None}
    if every_lead and narrowed:
        raise CliError("--all means every lead: leave it out, or leave out the other conditions.", 2)
    if not every_lead and not narrowed:
        raise CliError(
            "Say which leads: --lead, --tag, --import-id, --in-timezone, --do-not-call, or --all for every lead.", 2
        )
    return narrowed or {"all": True}


def lead_changes(
    add_tags: list[str] | None,
    remove_tags: list[str] | None,
    timezone: str | None,
    set_attributes: list[str] | None,
    unset: list[str] | None,
) -> Json:
    """The api's changes from options.

    Raises:
        CliError: there are none, or an attribute is not written as name=value.
    """
    attributes: dict[str, str | None] = dict.fromkeys(unset or [])
    for written in set_attributes or []:
        name, equals, value = written.partition("=")
        if not equals or not name.strip():
            raise CliError(f"{clean(written)!r} is no attribute: write name=value, such as plan=pro.", 2)
        attributes[name.strip()] = value
    changes: Json = {
        "add_tags": add_tags,
        "remove_tags": remove_tags,
        "timezone": timezone,
        "attributes": attributes,
    }
    given = {name: value for name, value in changes.items() if value}
    if not given:
        raise CliError("Say what to change: --add-tag, --remove-tag, --timezone, --set or --unset.", 2)
    return given


class _Job:
    """A bulk task: looked at, asked about, created and perhaps watched."""

    def __init__(self, api: ApiClient, output: Output, *, yes: bool, watch_it: bool) -> None:
        self._api = api
        self._output = output
        self._yes = yes
        self._watch_it = watch_it

    def run(self, which: Json, question: str, create: Callable[[], Json]) -> None:
        """Show which leads are meant, ask, create the task."""
        if not self._yes:
            found = _post(self._api, "count", which)
            if not found["count"]:
                self._output.note("No lead is meant: nothing was changed.")
                return
            self._preview(found)
            self.confirm(question.format(count=found["count"]))
        self.follow(create())

    def confirm(self, question: str) -> None:
        """Ask, unless that was answered beforehand.

        Raises:
            CliError: the answer is no, or there is nobody to answer.
        """
        if self._yes:
            return
        try:
            agreed = typer.confirm(question, err=True)
        except typer.Abort:
            raise CliError("Nothing was changed: nobody answered. In a script pass --yes.") from None
        if not agreed:
            raise CliError("Nothing was changed.")

    def follow(self, task: Json) -> None:
        """Print the task, or watch it."""
        if self._watch_it:
            stopped = f"Task {task['id']} goes on. To cancel it: switchboard tasks cancel {task['id']}"
            changes = follow_task(self._api, task["id"])
            if watch(self._output, changes, sight_of_task, if_stopped=stopped)["status"] != "completed":
                raise typer.Exit(1)
        elif self._output.as_json:
            self._output.json(task)
        else:
            self._output.line(f"Started task {task['id']}: {task['total']} leads.")
            self._output.note(f"To watch it: switchboard tasks watch {task['id']}")

    def _preview(self, found: Json) -> None:
        for lead in found["examples"]:
            words = (lead["id"], lead["phone"], lead["name"] or "", ", ".join(lead["tags"]))
            self._output.note("  ".join(clean(word) for word in words).rstrip())
        if found["count"] > len(found["examples"]):
            self._output.note(f"… and {found['count'] - len(found['examples'])} more")


def _post(api: ApiClient, path: str, body: Json | None = None) -> Json:
    answer: Json = api.post(f"/api/leads/{path}", body)
    return answer
