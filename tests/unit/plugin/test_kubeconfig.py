"""Where the plugin finds its cluster, and what it says where it does not."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from kubectl_switchboard.errors import PluginError
from kubectl_switchboard.kubeconfig import connect


def write(folder: Path, *, user: dict[str, Any] | None = None, current: str = "staging") -> Path:
    """A kubeconfig with the contexts ``staging`` (current, without a namespace) and ``prod``."""
    cluster = {"name": "c", "cluster": {"server": "https://127.0.0.1:9", "insecure-skip-tls-verify": True}}
    contexts = [
        {"name": "staging", "context": {"cluster": "c", "user": "u"}},
        {"name": "prod", "context": {"cluster": "c", "user": "u", "namespace": "calls"}},
    ]
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [cluster],
        "users": [{"name": "u", "user": user or {"token": "t"}}],
        "contexts": contexts,
        "current-context": current,
    }
    path = folder / "config"
    path.write_text(yaml.safe_dump(content), encoding="utf-8")
    return path


def test_the_current_context_counts_and_default_is_its_namespace(tmp_path: Path) -> None:
    found = connect(write(tmp_path))
    assert (found.context, found.namespace) == ("staging", "default")


def test_a_context_that_is_named_brings_its_namespace(tmp_path: Path) -> None:
    found = connect(write(tmp_path), "prod")
    assert (found.context, found.namespace) == ("prod", "calls")


def test_kubeconfig_may_name_several_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBECONFIG", f"{tmp_path / 'missing'}:{write(tmp_path)}")
    assert connect().context == "staging"


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match=r"There is no kubeconfig at .*missing: name another file with --kubeconfig"):
        connect(tmp_path / "missing")


def test_without_any_a_sentence_says_what_to_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("KUBECONFIG", "KUBERNETES_SERVICE_HOST"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(PluginError, match="There is no kubeconfig, and this is no pod: set KUBECONFIG"):
        connect()


def test_a_context_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="has no context nowhere: `kubectl config get-contexts` lists"):
        connect(write(tmp_path), "nowhere")


def test_a_file_without_a_current_context_asks_for_one(tmp_path: Path) -> None:
    with pytest.raises(PluginError, match="has no usable current context: name one with --context"):
        connect(write(tmp_path, current=""))


@pytest.mark.parametrize("content", ["{", "a: [", "just words"])
def test_a_file_that_is_none_is_said(tmp_path: Path, content: str) -> None:
    path = tmp_path / "config"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(PluginError, match=r"kubeconfig .* cannot be (read|used)"):
        connect(path)


def test_a_login_helper_that_fails_ends_in_its_own_words(tmp_path: Path) -> None:
    helper = {
        "apiVersion": "client.authentication.k8s.io/v1",
        "command": str(tmp_path / "helper"),
        "interactiveMode": "Never",
    }
    with pytest.raises(PluginError, match=r"The credentials of context staging cannot be had: .*helper"):
        connect(write(tmp_path, user={"exec": helper}))
