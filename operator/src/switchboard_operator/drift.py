"""How a live object differs from the manifest that it should follow. Pure.

Two things are drift: a field of ours that has another value or is gone (compared with the manifest), and a field that
somebody else added where the operator alone decides (seen in ``managedFields``: the API server's own defaults belong to
nobody, a person's edit belongs to that person's client).
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any

from switchboard_operator import names
from switchboard_operator.actions import Drift
from switchboard_operator.resources.base import Manifest
from switchboard_operator.snapshot import nested

_SUFFIXES = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("0.001"), "": Decimal(1),
    "k": Decimal(10) ** 3, "M": Decimal(10) ** 6, "G": Decimal(10) ** 9,
    "T": Decimal(10) ** 12, "P": Decimal(10) ** 15, "E": Decimal(10) ** 18,
    "Ki": Decimal(2) ** 10, "Mi": Decimal(2) ** 20, "Gi": Decimal(2) ** 30,
    "Ti": Decimal(2) ** 40, "Pi": Decimal(2) ** 50, "Ei": Decimal(2) ** 60,
}  # fmt: skip
_QUANTITIES = frozenset({"requests", "limits"})
_LIST_KEYS = ("name", "mountPath", "containerPort", "type")

# Not ours to decide: an autoscaler's or a person's scale is judged by value, `kubectl rollout restart` is welcome.
_TOLERATED = (
    ("f:spec", "f:replicas"),
    ("f:spec", "f:template", "f:metadata", "f:annotations"),
    # Written by the claim's binder and by whoever enlarges a volume.
    ("f:spec", "f:volumeName"),
)


def compare(wanted: Manifest, live: Manifest) -> Drift:
    """Find out how a live object differs from its manifest."""
    paths = tuple(_differences(wanted, live, ""))
    return Drift(paths=paths, foreign=foreign_fields(live))


def is_outdated(wanted: Manifest, live: Manifest) -> bool:
    """The manifest has changed since it was applied, so a difference is no drift."""
    return applied_hash(wanted) != applied_hash(live)


def applied_hash(found: Manifest) -> str | None:
    """Hash of the manifest that was applied last."""
    value: str | None = nested(found, "metadata", "annotations", names.HASH_ANNOTATION)
    return value


def foreign_fields(live: Manifest) -> dict[str, tuple[str, ...]]:
    """Fields of the spec that another client owns, per client."""
    found: dict[str, tuple[str, ...]] = {}
    for entry in _foreign_entries(live):
        paths = tuple(".".join(part.removeprefix("f:") for part in path) for path in _spec_paths(entry))
        if paths:
            found[entry.get("manager", "unknown")] = paths
    return found


def taken_over(live: Manifest) -> list[dict[str, Any]]:
    """``managedFields`` in which our own entry also has what others added, so that an apply removes it."""
    ours = {
        "manager": names.FIELD_MANAGER,
        "operation": "Apply",
        "apiVersion": live["apiVersion"],
        "fieldsType": "FieldsV1",
        "fieldsV1": {},
    }
    rest = []
    for entry in nested(live, "metadata", "managedFields") or []:
        if _is_ours(entry):
            ours["fieldsV1"] = _union(ours["fieldsV1"], entry.get("fieldsV1", {}))
            continue
        kept = dict(entry)
        if not entry.get("subresource"):
            fields = entry.get("fieldsV1", {})
            ours["fieldsV1"] = _union(ours["fieldsV1"], _only(fields, list(_spec_paths(entry))))
            kept["fieldsV1"] = {key: value for key, value in fields.items() if key != "f:spec"} | _tolerated(fields)
        rest.append(kept)
    return [ours, *rest]


def changeable(claim: Manifest, live: Manifest) -> Manifest:
    """The manifest of a claim with what nobody can change as it is: storage class, access modes, a larger size.

    The live one may have outlived a Switchboard with another spec, or have been enlarged by a person.
    """
    body, found = dict(claim["spec"]), live.get("spec", {})
    body |= {field: found[field] for field in ("accessModes", "storageClassName") if field in found}
    there = nested(found, "resources", "requests", "storage")
    sizes = quantity(body["resources"]["requests"]["storage"]), quantity(there)
    if isinstance(sizes[0], Decimal) and isinstance(sizes[1], Decimal) and sizes[0] < sizes[1]:
        body["resources"] = {"requests": {"storage": there}}
    return claim | {"spec": body}


def owns_replicas(live: Manifest) -> bool:
    """The operator is who last set the replicas of a Deployment."""
    entries = nested(live, "metadata", "managedFields") or []
    return any(_is_ours(entry) and nested(entry, "fieldsV1", "f:spec", "f:replicas") is not None for entry in entries)


def _is_ours(entry: Mapping[str, Any]) -> bool:
    return entry.get("manager") == names.FIELD_MANAGER and entry.get("operation") == "Apply"


def _foreign_entries(live: Manifest) -> Iterator[Mapping[str, Any]]:
    for entry in nested(live, "metadata", "managedFields") or []:
        if not entry.get("subresource") and not _is_ours(entry) and entry.get("manager") != names.SCALE_MANAGER:
            yield entry


def _spec_paths(entry: Mapping[str, Any]) -> Iterator[tuple[str, ...]]:
    """Leaves below the spec that nobody but us may own."""
    for path in _leaves(entry.get("fieldsV1", {}), ()):
        if path[0] == "f:spec" and not any(path[: len(each)] == each for each in _TOLERATED):
            yield path


def _leaves(fields: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    for key, below in fields.items():
        if below:
            yield from _leaves(below, (*path, key))
        else:
            yield (*path, key)


def _only(fields: Mapping[str, Any], paths: list[tuple[str, ...]]) -> dict[str, Any]:
    """The part of a field set that these leaves make up."""
    found: dict[str, Any] = {}
    for path in paths:
        place = found
        for part in path:
            place = place.setdefault(part, {})
    return found if fields else {}


def _tolerated(fields: Mapping[str, Any]) -> dict[str, Any]:
    paths = [path for path in _leaves(fields, ()) if any(path[: len(each)] == each for each in _TOLERATED)]
    return _only(fields, paths)


def _union(left: Mapping[str, Any], right: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(left)
    for key, value in right.items():
        merged[key] = _union(merged.get(key, {}), value)
    return merged


def _differences(wanted: object, live: object, path: str) -> Iterator[str]:
    if isinstance(wanted, dict):
        if not isinstance(live, dict):
            # The API server leaves empty maps out.
            if wanted:
                yield path
            return
        for key, value in wanted.items():
            yield from _member(key, value, live.get(key), path)
    elif isinstance(wanted, list):
        yield from _list_differences(wanted, live, path)
    elif wanted != live and not (wanted == "" and live is None):
        # The API server leaves empty strings out too.
        yield path


def _member(key: str, wanted: object, live: object, path: str) -> Iterator[str]:
    below = f"{path}.{key}" if path else key
    if key in _QUANTITIES and isinstance(wanted, dict) and isinstance(live, dict):
        for name, value in wanted.items():
            if quantity(value) != quantity(live.get(name, "")):
                yield f"{below}.{name}"
        return
    yield from _differences(wanted, live, below)


def _list_differences(wanted: list[Any], live: object, path: str) -> Iterator[str]:
    found = live if isinstance(live, list) else []
    key = _list_key(wanted)
    if key is None:
        if len(wanted) != len(found):
            yield path
            return
        for number, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from _differences(one, other, f"{path}[{number}]")
        return
    by_key = {each.get(key): each for each in found if isinstance(each, dict)}
    for each in wanted:
        yield from _differences(each, by_key.get(each[key]), f"{path}[{each[key]}]")


def _list_key(items: list[Any]) -> str | None:
    if not items or not all(isinstance(each, dict) for each in items):
        return None
    return next((key for key in _LIST_KEYS if len({each.get(key) for each in items} - {None}) == len(items)), None)


def quantity(value: object) -> Decimal | str:
    """A quantity as a number: ``0.5`` and ``500m`` are the same; what is none stays as it is."""
    text = str(value)
    number = text.rstrip("".join({letter for suffix in _SUFFIXES for letter in suffix}))
    try:
        return Decimal(number) * _SUFFIXES[text[len(number) :]]
    except (InvalidOperation, KeyError):
        return text
