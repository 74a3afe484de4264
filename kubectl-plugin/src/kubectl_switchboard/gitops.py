"""Who else sets a field: what is written by hand is undone where a tool keeps it as Git has it. Pure."""

from dataclasses import dataclass

from kubectl_switchboard.kinds import Json

_SPEC, _PAUSED = "f:spec", "f:paused"

_TOOLS = {
    "argocd": "Argo CD",
    "argo-cd": "Argo CD",
    "kustomize-controller": "Flux",
    "helm-controller": "Flux",
    "flux": "Flux",
    "fleet": "Fleet",
}
"""What the names of field managers begin with."""
_HELM = "helm"


@dataclass(frozen=True)
class Keeper:
    """A tool that manages the resource.

    Attributes:
        name: for people.
        owns_paused: it has set ``spec.paused`` itself, so it sets it back.
    """

    name: str
    owns_paused: bool


def keeper(resource: Json) -> Keeper | None:
    """The GitOps tool, or Helm, that manages a resource; one that owns ``spec.paused`` rather than another.

    Args:
        resource: as it was before the change, because a change takes the field's ownership.
    """
    found: list[Keeper] = []
    for entry in resource.get("metadata", {}).get("managedFields") or []:
        if entry.get("subresource"):
            continue
        name = _tool(str(entry.get("manager", "")).lower())
        if name:
            found.append(Keeper(name, _has(entry.get("fieldsV1") or {})))
    return next((each for each in found if each.owns_paused), found[0] if found else None)


def warning(found: Keeper, *, paused: bool) -> str:
    """What to mind after ``spec.paused`` was changed by hand."""
    value = str(paused).lower()
    if found.name == "Helm":
        return (
            "This resource comes from a Helm release: the next `helm upgrade` may set spec.paused back, unless its "
            f"values say {value}."
        )
    if found.owns_paused:
        return (
            f"{found.name} manages spec.paused and will set it back to what Git has, perhaps within minutes: set "
            f"`paused: {value}` in Git, or suspend its sync."
        )
    return (
        f"{found.name} manages this resource, though not spec.paused so far: set `paused: {value}` in Git too, so that "
        "nobody is surprised."
    )


def _tool(manager: str) -> str | None:
    for prefix, name in _TOOLS.items():
        if manager.startswith(prefix):
            return name
    return "Helm" if manager == _HELM else None


def _has(fields: Json) -> bool:
    spec = fields.get(_SPEC) or {}
    return _PAUSED in spec
