"""Secrets under lock and key: who opens them, who does not, and how keys are changed."""

import pytest
from pydantic import SecretStr, ValidationError

from switchboard_core.settings import Settings
from switchboard_core.vault.sealing import KeysMissingError, Sealer, UnreadableSecretError, new_key

OLD, NEW = SecretStr(new_key()), SecretStr(new_key())
SECRET = {"user": "ada@example.com", "password": "correct horse"}


def settings(keys: str) -> Settings:
    return Settings(_env_file=None, database_url="postgresql+psycopg://a:b@127.0.0.1:9/c", credentials_keys=keys)


def test_what_was_sealed_is_opened_again() -> None:
    sealer = Sealer([OLD])
    assert sealer.open(1, "mailbox", sealer.seal(1, "mailbox", SECRET)) == SECRET


def test_nothing_of_a_secret_can_be_read_in_what_is_stored() -> None:
    sealed = Sealer([OLD]).seal(1, "mailbox", SECRET)
    assert b"horse" not in sealed
    assert b"ada" not in sealed


def test_the_same_secret_never_looks_the_same() -> None:
    sealer = Sealer([OLD])
    assert sealer.seal(1, "mailbox", SECRET) != sealer.seal(1, "mailbox", SECRET)


@pytest.mark.parametrize(("business_id", "kind"), [(2, "mailbox"), (1, "ledger")])
def test_copied_to_another_business_or_purpose_it_opens_nothing(business_id: int, kind: str) -> None:
    sealer = Sealer([OLD])
    with pytest.raises(UnreadableSecretError, match="not this business's"):
        sealer.open(business_id, kind, sealer.seal(1, "mailbox", SECRET))


@pytest.mark.parametrize("at", [0, 40, -1])
def test_a_changed_byte_is_noticed(at: int) -> None:
    sealed = bytearray(Sealer([OLD]).seal(1, "mailbox", SECRET))
    sealed[at] ^= 1
    with pytest.raises(UnreadableSecretError):
        Sealer([OLD]).open(1, "mailbox", bytes(sealed))


def test_an_older_key_still_opens_and_the_newest_seals() -> None:
    both = Sealer([NEW, OLD])
    assert both.open(1, "mailbox", Sealer([OLD]).seal(1, "mailbox", SECRET)) == SECRET
    assert Sealer([NEW]).open(1, "mailbox", both.seal(1, "mailbox", SECRET)) == SECRET


def test_without_its_key_a_secret_stays_shut_and_says_what_to_do() -> None:
    with pytest.raises(UnreadableSecretError, match="Put the old key back at the end of the list"):
        Sealer([NEW]).open(1, "mailbox", Sealer([OLD]).seal(1, "mailbox", SECRET))


def test_a_secret_changes_to_the_newest_key_once() -> None:
    both = Sealer([NEW, OLD])
    resealed = both.reseal(Sealer([OLD]).seal(1, "mailbox", SECRET))
    assert resealed is not None
    assert Sealer([NEW]).open(1, "mailbox", resealed) == SECRET
    assert both.reseal(resealed) is None


def test_what_no_key_opens_is_not_sealed_anew() -> None:
    with pytest.raises(UnreadableSecretError):
        Sealer([NEW]).reseal(Sealer([OLD]).seal(1, "mailbox", SECRET))


def test_without_any_key_it_says_how_to_make_one() -> None:
    for use in (
        lambda: Sealer([]).seal(1, "mailbox", SECRET),
        lambda: Sealer([]).open(1, "mailbox", b"x"),
        lambda: Sealer([]).reseal(b"x"),
    ):
        with pytest.raises(KeysMissingError, match="switchboard credentials new-key"):
            use()


def test_keys_are_a_list_in_the_settings_and_hidden_there() -> None:
    made = settings(f"{NEW.get_secret_value()}, {OLD.get_secret_value()}")
    assert made.credentials_keys == (NEW, OLD)
    assert NEW.get_secret_value() not in repr(made)


@pytest.mark.parametrize("key", ["short", "ä" * 44, "!" * 44])
def test_what_is_no_key_is_refused_at_the_start_and_not_repeated(key: str) -> None:
    with pytest.raises(ValidationError, match="switchboard credentials new-key") as refused:
        settings(f"{NEW.get_secret_value()},{key}")
    assert NEW.get_secret_value() not in str(refused.value)
