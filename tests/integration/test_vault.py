"""Secrets in the database: each business opens its own, keys are changed under way, and nothing is there in clear."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from pydantic import SecretStr
from sqlalchemy import Connection, select, text
from sqlalchemy.exc import ProgrammingError
from typer.testing import CliRunner, Result

from integration.api_support import api_settings
from migration_support import connected, opened
from switchboard_cli.devstack import DatabaseUrls, EmbeddedPostgres
from switchboard_cli.main import app
from switchboard_core.db import Database
from switchboard_core.settings import Settings, get_settings
from switchboard_core.tenancy.service import create_business
from switchboard_core.vault import service
from switchboard_core.vault.models import Credential
from switchboard_core.vault.sealing import KeysMissingError, UnreadableSecretError, new_key

SECRET = {"user": "ada@example.com", "password": "correct horse"}


@dataclass
class Vault:
    """A database, two businesses in it, and the keys of the moment."""

    urls: DatabaseUrls
    database: Database
    owner: Connection
    keys: list[str] = field(default_factory=lambda: [new_key()])

    def __post_init__(self) -> None:
        self.acme, self.rival = (create_business(self.database, name).id for name in ("Acme", "Rival"))

    @property
    def settings(self) -> Settings:
        return api_settings(database_url=self.urls.app, credentials_keys=tuple(map(SecretStr, self.keys)))

    def store(self, business_id: int, secret: dict[str, str] | None = None) -> int:
        with self.database.tenant(business_id) as session:
            return service.store(session, self.settings, "mailbox", secret or SECRET)

    def read(self, business_id: int, credential_id: int) -> dict[str, str]:
        with self.database.tenant(business_id) as session:
            return service.read(session, self.settings, credential_id)

    def sealed(self) -> list[bytes]:
        """Everything that is kept, as the owner of the tables sees it."""
        return [bytes(row.sealed) for row in self.owner.execute(text("SELECT sealed FROM credentials ORDER BY id"))]

    def rotate(self, *options: str) -> Result:
        """``switchboard credentials rotate``."""
        get_settings.cache_clear()
        environment = {"DATABASE_URL": self.urls.app, "CREDENTIALS_KEYS": ",".join(self.keys)}
        try:
            return CliRunner().invoke(app, ["credentials", "rotate", *options], env=environment)
        finally:
            get_settings.cache_clear()


@pytest.fixture(scope="module")
def urls(postgres: EmbeddedPostgres, migrated_template: str) -> Iterator[DatabaseUrls]:
    yield postgres.create_database("vault", template=migrated_template)
    postgres.drop_database("vault")


@pytest.fixture
def vault(urls: DatabaseUrls) -> Iterator[Vault]:
    with opened(urls.app) as database, connected(urls.owner) as owner:
        yield Vault(urls, database, owner)
        owner.execute(text("DELETE FROM businesses"))


def test_a_secret_is_kept_sealed_and_opened_by_its_business(vault: Vault) -> None:
    credential_id = vault.store(vault.acme)
    assert vault.read(vault.acme, credential_id) == SECRET
    assert b"horse" not in vault.sealed()[0]


def test_another_business_neither_reads_nor_replaces_nor_forgets_it(vault: Vault) -> None:
    credential_id = vault.store(vault.acme)
    with pytest.raises(service.CredentialNotFoundError, match="connect the account again"):
        vault.read(vault.rival, credential_id)
    with vault.database.tenant(vault.rival) as session:
        assert session.scalars(select(Credential)).all() == []
        with pytest.raises(service.CredentialNotFoundError):
            service.replace(session, vault.settings, credential_id, {"password": "mine"})
        service.forget(session, credential_id)
    assert vault.read(vault.acme, credential_id) == SECRET


def test_no_business_can_put_a_secret_under_another_one_s_name(vault: Vault) -> None:
    with (
        pytest.raises(ProgrammingError, match="row-level security"),
        vault.database.tenant(vault.rival) as session,
    ):
        session.add(Credential(business_id=vault.acme, kind="mailbox", sealed=b"x"))


def test_a_row_that_was_copied_to_another_business_opens_nothing_there(vault: Vault) -> None:
    vault.store(vault.acme)
    copied = vault.owner.execute(
        text(
            "INSERT INTO credentials (business_id, kind, sealed) SELECT :to, kind, sealed FROM credentials RETURNING id"
        ),
        {"to": vault.rival},
    ).scalar_one()
    with pytest.raises(UnreadableSecretError, match="not this business's"):
        vault.read(vault.rival, copied)


def test_a_secret_is_replaced_and_forgotten(vault: Vault) -> None:
    credential_id = vault.store(vault.acme)
    with vault.database.tenant(vault.acme) as session:
        service.replace(session, vault.settings, credential_id, {"password": "battery staple"})
    assert vault.read(vault.acme, credential_id) == {"password": "battery staple"}
    with vault.database.tenant(vault.acme) as session:
        service.forget(session, credential_id)
    with pytest.raises(service.CredentialNotFoundError):
        vault.read(vault.acme, credential_id)


def test_without_a_key_nothing_is_kept(vault: Vault) -> None:
    vault.keys.clear()
    with pytest.raises(KeysMissingError, match="CREDENTIALS_KEYS"):
        vault.store(vault.acme)
    assert vault.sealed() == []


def test_a_new_key_of_the_command_is_one_that_works(vault: Vault) -> None:
    made = CliRunner().invoke(app, ["credentials", "new-key"]).stdout.strip()
    vault.keys = [json.loads(CliRunner().invoke(app, ["credentials", "new-key", "--json"]).stdout)["key"]]
    assert made != vault.keys[0]
    assert vault.read(vault.acme, vault.store(vault.acme)) == SECRET


def test_after_a_rotation_the_old_key_can_go(vault: Vault) -> None:
    ids = {business_id: vault.store(business_id) for business_id in (vault.acme, vault.rival)}
    vault.keys.insert(0, new_key())
    new = vault.store(vault.acme, {"password": "new"})
    before = vault.sealed()
    told = vault.rotate()
    assert (told.exit_code, told.stdout) == (0, "2 secrets were sealed with the newest key.\n")
    assert [old == new for old, new in zip(before, vault.sealed(), strict=True)] == [False, False, True]
    vault.keys.pop()
    assert [vault.read(business_id, credential_id) for business_id, credential_id in ids.items()] == [SECRET] * 2
    assert vault.read(vault.acme, new) == {"password": "new"}
    assert json.loads(vault.rotate("--json").stdout) == {"resealed": 0, "unreadable": []}


def test_one_secret_that_no_key_opens_keeps_no_other_from_the_new_key(vault: Vault) -> None:
    lost = vault.store(vault.acme)
    vault.keys = [new_key()]
    others = [(vault.acme, vault.store(vault.acme)), (vault.rival, vault.store(vault.rival))]
    vault.keys.insert(0, new_key())
    told = vault.rotate("--json")
    assert told.exit_code == 1
    assert json.loads(told.stdout) == {"resealed": 2, "unreadable": [{"business": vault.acme, "credential": lost}]}
    assert f"{lost} of business {vault.acme}" in told.stderr
    vault.keys.pop()
    assert [vault.read(*other) for other in others] == [SECRET] * 2
    with pytest.raises(UnreadableSecretError):
        vault.read(vault.acme, lost)


def test_a_rotation_without_keys_says_what_is_missing(vault: Vault) -> None:
    vault.store(vault.acme)
    vault.keys.clear()
    told = vault.rotate()
    assert told.exit_code == 1
    assert "set CREDENTIALS_KEYS" in told.stderr
