"""The Secrets that a Switchboard needs: what is wrong with them, and checksums that change with their content. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from switchboard_operator import names
from switchboard_operator.resources.base import ENV_FROM_SECRETS, Manifest, Owner, digest, labels, manifest
from switchboard_operator.schema import SecretKeyRef
from switchboard_operator.spec import FORBIDDEN_ENV, SwitchboardSpec
from switchboard_operator.state import Applied

Secrets = Mapping[str, Mapping[str, str] | None]

_OF_MANAGED = frozenset({names.INSTANCE_LABEL, names.MANAGED_BY_LABEL})


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


def made_names(instance: str) -> set[str]:
    """Names of the Secrets that the operator makes."""
    return {names.internal_secret_name(instance), names.credentials_secret_name(instance)}


def are_entrusted(applied: Applied | None) -> bool:
    """Pods were given the sealing keys, so something may be sealed with them: a lost key is not to be made anew."""
    return applied is not None and applied.revision >= ENV_FROM_SECRETS


def missing(spec: SwitchboardSpec, secrets: Secrets, owner: Owner, applied: Applied | None) -> list[str]:
    """One sentence per thing that is missing, which says what to do.

    Args:
        spec: that names Secrets.
        secrets: that were found.
        owner: the Switchboard.
        applied: the release that runs.
    """
    return list(dict.fromkeys([*_missing(spec, secrets, owner.namespace), *_missing_keys(secrets, owner, applied)]))


def _missing(spec: SwitchboardSpec, secrets: Secrets, namespace: str) -> list[str]:
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
    return sentences


def _missing_keys(secrets: Secrets, owner: Owner, applied: Applied | None) -> Iterator[str]:
    name = names.credentials_secret_name(owner.name)
    content = secrets.get(name)
    if content is None and are_entrusted(applied):
        yield (
            f"The Secret {name} is gone, whose keys open what businesses have entrusted to Switchboard: put it back "
            f"from a backup, or from a pod that still runs (`kubectl exec --namespace {owner.namespace} "
            f"deploy/{names.api_name(owner.name)} -- printenv {names.CREDENTIALS_KEY}`). Where the keys are lost, make "
            "it with a new one; accounts have to be connected again then."
        )
    elif content is not None and not content.get(names.CREDENTIALS_KEY):
        yield (
            f"The Secret {name} has no key {names.CREDENTIALS_KEY}: add it, with what "
            "`switchboard credentials new-key` prints."
        )


def refused(spec: SwitchboardSpec, secrets: Secrets) -> list[str]:
    """One sentence per variable in a Secret that no pod may carry."""
    refs = [("envFromSecrets", ref) for ref in spec.env_from_secrets]
    if spec.storage.secret_ref:
        refs.append(("storage.secretRef", spec.storage.secret_ref))
    return [
        f"The Secret {ref.name} that spec.{field} names holds {variable}, which no pod may carry, because only the "
        "migrate Job migrates: take it out."
        for field, ref in refs
        for variable in FORBIDDEN_ENV
        if variable in (secrets.get(ref.name) or {})
    ]


def pods_checksum(spec: SwitchboardSpec, secrets: Secrets, owner: Owner, revision: int) -> str:
    """Checksum of what pods see; salted, so that it tells nothing about a weak password.

    Args:
        spec: that names Secrets.
        secrets: that were found.
        owner: the Switchboard.
        revision: of the pods' templates.
    """
    content: list[object] = [owner.uid]
    for need in pod_needs(spec):
        found = secrets.get(need.name) or {}
        content.append([need.name, need.key, found.get(need.key) if need.key else dict(found)])
    token = secrets.get(names.internal_secret_name(owner.name)) or {}
    content.append(token.get(names.TOKEN_KEY))
    if revision >= ENV_FROM_SECRETS:
        content.append(dict(secrets.get(names.credentials_secret_name(owner.name)) or {}))
    return digest(content)


def migration_checksum(spec: SwitchboardSpec, secrets: Secrets, owner: Owner) -> str:
    """Checksum of the owner's database URL: another database needs its own migration."""
    ref = spec.database.migration_secret_ref
    return digest([owner.uid, (secrets.get(ref.name) or {}).get(ref.key)])


def internal_secret(owner: Owner) -> Manifest:
    """The Secret with the internal token, still without the token."""
    return manifest("v1", "Secret", names.internal_secret_name(owner.name), owner, labels(owner), type="Opaque")


def credentials_secret(owner: Owner) -> Manifest:
    """The Secret with the sealing keys, still without a key.

    It has no owner, because the database with what they seal outlives the Switchboard too. Nor has it the labels of
    what is managed: it is made and then left alone, and GitOps tools that go by the label of the instance delete what
    they have not made and nobody owns.
    """
    found = {key: value for key, value in labels(owner).items() if key not in _OF_MANAGED}
    name = names.credentials_secret_name(owner.name)
    return manifest("v1", "Secret", name, owner, found, owned=False, type="Opaque")


def _key(field: str, ref: SecretKeyRef) -> Need:
    return Need(field, ref.name, ref.key)
