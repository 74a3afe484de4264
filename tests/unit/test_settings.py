"""Wrong settings are told in words that hold nothing secret."""

import pytest

from switchboard_core.settings import SettingsError, load_settings


@pytest.mark.parametrize(
    "url",
    [
        "secret-word",
        "mysql://owner:secret-word@host/name",
        "postgresql+psycopg://owner:@host:secret-word@127.0.0.1/name",
    ],
)
def test_a_database_url_that_cannot_be_read_is_explained_without_its_password(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("DATABASE_URL", url)

    with pytest.raises(SettingsError) as refused:
        load_settings()

    assert str(refused.value).startswith("Settings are wrong. DATABASE_URL:")
    assert "secret-word" not in str(refused.value)
