"""The keys that seal what businesses entrust, on a real API server and with the rights of the chart."""

import base64

from apiserver.client import Object
from apiserver.site import NAME, Site
from switchboard_operator import names

SECRET = names.credentials_secret_name(NAME)


def key_of(site: Site) -> str:
    found = site.client.get("Secret", site.namespace, SECRET)
    return base64.b64decode(found["data"][names.CREDENTIALS_KEY]).decode()


def uids(site: Site) -> set[str]:
    return {pod["metadata"]["uid"] for pod in site.pods()}


def sources(pod: Object) -> list[str]:
    """Secrets whose keys become variables of a pod."""
    return [each["secretRef"]["name"] for each in pod["spec"]["containers"][0].get("envFrom", [])]


def test_api_and_workers_get_the_keys_and_the_recorder_does_not(installed: Site) -> None:
    found = {pod["metadata"]["labels"][names.ROLE_LABEL]: sources(pod) for pod in installed.pods()}

    assert found == {"api": [SECRET], "worker": [SECRET], "recorder": []}
    assert len(base64.urlsafe_b64decode(key_of(installed))) == 32
    assert "CredentialsKeyMade" in installed.told()


def test_a_rotated_key_reaches_each_pod_once(installed: Site) -> None:
    before, checksum = uids(installed), installed.status()["applied"]["secrets"]
    mark = installed.audit.mark()

    installed.change_secret(SECRET, names.CREDENTIALS_KEY, f"{'n' * 43}=,{key_of(installed)}")
    installed.await_resource(lambda found: found["status"]["applied"]["secrets"] != checksum, "it to be noticed")
    installed.await_settled()

    made = [
        entry
        for entry in installed.audit.writes(installed.namespace, mark)
        if entry.verb == "create" and entry.resource == "pods"
    ]
    assert len(made) == len(before)
    assert not before & uids(installed)


def test_lost_keys_are_asked_for_and_never_made_anew(installed: Site) -> None:
    before, key = uids(installed), key_of(installed)
    installed.client.delete("Secret", installed.namespace, SECRET)

    degraded = installed.await_condition("Degraded", "True", "SecretMissing", within_s=15)

    assert f"The Secret {SECRET} is gone" in degraded["message"]
    assert SECRET not in installed.names("Secret")
    assert installed.condition("Available")["status"] == "True"

    installed.add_secret(SECRET, {names.CREDENTIALS_KEY: key})
    installed.await_condition("Degraded", "False", within_s=15)
    assert uids(installed) == before
