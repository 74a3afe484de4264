"""The Secrets that a Switchboard needs: which are missing, and a checksum that changes with their content. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from switchboard_operator import names
from switchboard_operator.resources.base import Manifest, Owner, digest, labels, manifest
from switchboard_operator.spec import SecretKeyRef, SwitchboardSpec

Secrets = Mapping[str, Mapping[str, str] | None]


@dataclass(frozen=True)
class Need:
    """A Secret, or one key of it, and the field that asks for it."""

    field: str
    name: str
    key: str | None = None


def pod_needs(spec: SwitchboardSpec) -> list[Need]:
    """What api, workers and recorder see."""
    carrier, storage = spec.carrier, spec.storage
    needs = [
        _key("database.secretRef", spec.database.secret_ref),
        _key("redis.secretRef", spec.redis.secret_ref),
        Need("carrier.secretRef", carrier.secret_ref.name, carrier.account_sid_key),
        Need("carrier.secretRef", carrier.secret_ref.name, carrier.auth_token_key),
    ]
    if storage.secret_ref:
        needs.append(Need("storage.secretRef", storage.secret_ref.name))
    return needs + [Need("envFromSecrets", ref.name) for ref in spec.env_from_secrets]


def needs(spec: SwitchboardSpec) -> list[Need]:
    """Everything that must be there before a release may begin."""
    return [_key("database.migrationSecretRef", spec.database.migration_secret_ref), *pod_needs(spec)]


def wanted_names(spec: SwitchboardSpec) -> set[str]:
    """Names of all Secrets that the spec mentions."""
    return {need.name for need in needs(spec)}


def missing(spec: SwitchboardSpec, secrets: Secrets, namespace: str) -> list[str]:
    """One sentence per thing that is missing, which says what to do."""
    sentences = []
    for need in needs(spec):
        content = secrets.get(need.name)
        if content is None:
            sentences.append(
                f"The Secret {need.name} that spec.{need.field} names does not exist: create it in namespace "
                f"{namespace}."
            )
        elif need.key is not None and not content.get(need.key):
            sentences.append(
                f"The Secret {need.name} that spec.{need.field} names has no key {need.key}: add it, or name "
                "another key."
            )
    return list(dict.fromkeys(sentences))


def pods_checksum(spec: SwitchboardSpec, secrets: Secrets, owner: Owner) -> str:
    """Checksum of what pods see; salted, so that it tells nothing about a weak password."""
    content: list[object] = [owner.uid]
    for need in pod_needs(spec):
        found = secrets.get(need.name) or {}
        content.append([need.name, need.key, found.get(need.key) if need.key else dict(found)])
    token = secrets.get(names.internal_secret_name(owner.name)) or {}
    content.append(token.get("token"))
    return digest(content)


def migration_checksum(spec: SwitchboardSpec, secrets: Secrets, owner: Owner) -> str:
    """Checksum of the owner's database URL: another database needs its own migration."""
    ref = spec.database.migration_secret_ref
    return digest([owner.uid, (secrets.get(ref.name) or {}).get(ref.key)])


def internal_secret(owner: Owner) -> Manifest:
    """The Secret with the internal token, still without the token."""
    return manifest("v1", "Secret", names.internal_secret_name(owner.name), owner, labels(owner), type="Opaque")


def _key(field: str, ref: SecretKeyRef) -> Need:
    return Need(field, ref.name, ref.key)
