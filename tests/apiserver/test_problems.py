"""What goes wrong around a Switchboard: a condition and an Event say which and what to do, others are served on."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from apiserver.conftest import Sites
from apiserver.site import Site, small_spec
from switchboard_operator.resources.pods import API_PORT


def events_with(site: Site, reason: str) -> list[str]:
    return [str(event["note"]) for event in site.events() if event["reason"] == reason]


def test_a_missing_secret_is_named_and_its_arrival_noticed(site: Site) -> None:
    site.add_secrets(but="switchboard-db")
    site.create(small_spec())

    degraded = site.await_condition("Degraded", "True", "SecretMissing", within_s=15)
    assert "The Secret switchboard-db that spec.database.secretRef names does not exist" in degraded["message"]
    assert f"create it in namespace {site.namespace}" in degraded["message"]
    assert events_with(site, "SecretMissing")
    assert site.names("Job") == []

    site.add_secret("switchboard-db", {"url": "postgresql://app"})
    site.await_condition("Degraded", "True", "SecretMissing", text="has no key ownerUrl", within_s=15)

    site.change_secret("switchboard-db", "ownerUrl", "postgresql://owner")
    site.await_settled()
    assert site.condition("Degraded")["status"] == "False"


def test_an_image_that_cannot_be_had_is_told_and_others_are_served_on(sites: Sites, installed: Site) -> None:
    installed.script.unpullable.add("1.1.0")
    installed.change(version="1.1.0")

    degraded = installed.await_condition("Degraded", "True", "ImagePullFailed", within_s=15)
    assert "cannot get its image (ErrImagePull: not found)" in degraded["message"]
    assert "Check the image's name and tag, spec.images.pullSecrets" in degraded["message"]
    assert events_with(installed, "ImagePullFailed")
    assert installed.condition("Available")["status"] == "True"
    assert installed.versions() == {"1.0.0"}

    other = sites.empty()
    other.install()

    installed.change(version="1.0.0")
    installed.await_settled("1.0.0")


def test_a_database_that_is_down_holds_the_release_back_and_is_asked_again(installed: Site) -> None:
    installed.script.database.down = True
    installed.change(version="1.1.0")

    migrated = installed.await_condition("DatabaseMigrated", "False", "CheckFailed", within_s=15)
    assert "The database cannot be reached." in migrated["message"]
    degraded = installed.await_condition("Degraded", "True", "CheckFailed")
    assert "It is asked again by itself every minute." in degraded["message"]
    assert events_with(installed, "CheckFailed")
    assert installed.condition("Available")["status"] == "True"
    assert installed.versions() == {"1.0.0"}


def test_pods_that_are_not_ready_are_asked_what_they_wait_for(site: Site) -> None:
    site.script.address = "127.77.0.1"
    site.script.frozen.add("1.0.0")
    sentence = "PostgreSQL does not answer: look at DATABASE_URL and at the server."
    with answering(site.script.address, API_PORT, {"detail": sentence}):
        # Workers and recorder answer on another port; only what the api says is looked at here.
        site.script.frozen.clear()
        site.script.ready_after_s = 0.0
        site.add_secrets()
        site.create(small_spec())
        site.await_settled()
        site.script.frozen.add("1.0.0")
        api = next(pod for pod in site.pods() if "-api-" in pod["metadata"]["name"])
        site.client.delete("Pod", site.namespace, api["metadata"]["name"])

        degraded = site.await_condition("Degraded", "True", "PodsNotReady", within_s=20)
        assert sentence in degraded["message"]
        assert events_with(site, "PodsNotReady")

    site.script.frozen.clear()
    frozen = next(pod for pod in site.pods() if "-api-" in pod["metadata"]["name"])
    site.client.delete("Pod", site.namespace, frozen["metadata"]["name"])
    site.await_settled()
    assert site.condition("Degraded")["status"] == "False"


@contextmanager
def answering(address: str, port: int, body: dict[str, str]) -> Iterator[None]:
    """A pod that says that it is not ready, and why."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            """Answer."""
            self.send_response(503)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer((address, port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield
        finally:
            server.shutdown()
            thread.join()
