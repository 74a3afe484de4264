"""What is taken out of objects and logs, by the place where it stands."""

import json
from typing import Any

import pytest

from kubectl_switchboard.redact import Redactor
from kubectl_switchboard.redact_objects import HARMLESS_VARIABLES, redact_log, redact_object, secret_values
from switchboard_operator.resources.base import Release
from switchboard_operator.resources.deployment import api_deployment
from unit.operator.samples import OWNER, containers, make_spec

REDACTOR = Redactor(salt=b"salt")


def test_of_a_secret_only_its_keys_are_left() -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "db", "namespace": "calls", "annotations": {"x": "y"}, "labels": {"a": "b"}},
        "type": "Opaque",
        "data": {"url": "aHVudGVyMg==", "another": ""},
    }
    assert redact_object(secret, REDACTOR) == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "db", "namespace": "calls"},
        "type": "Opaque",
        "keys": ["another", "url"],
    }


def test_of_variables_only_harmless_values_are_left() -> None:
    env = [
        {"name": "LOG_LEVEL", "value": "INFO"},
        {"name": "RECORDINGS_URL", "value": "s3://key:hunter2@bucket"},
        {"name": "ANYTHING", "value": "hunter2"},
        {"name": "CREDENTIALS_KEYS", "value": ""},
        {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "db", "key": "url"}}},
    ]
    assert redact_object({"spec": {"containers": [{"env": env}]}}, REDACTOR)["spec"]["containers"][0]["env"] == [
        {"name": "LOG_LEVEL", "value": "INFO"},
        {"name": "RECORDINGS_URL", "value": "s3://key:***@bucket"},
        {"name": "ANYTHING", "value": "***"},
        {"name": "CREDENTIALS_KEYS", "value": ""},
        {"name": "DATABASE_URL", "valueFrom": {"secretKeyRef": {"name": "db", "key": "url"}}},
    ]


def test_what_the_operator_sets_itself_stays_readable() -> None:
    carrier = {"secretRef": {"name": "twilio"}, "baseUrl": "http://carrier", "mediaHosts": ["media.example.com"]}
    spec = make_spec(carrier=carrier, storage={"url": "s3://recordings", "endpointUrl": "http://minio:9000"})
    deployment = api_deployment(Release(owner=OWNER, spec=spec, release="r", secrets="s"), 2)
    plain = {each["name"] for each in next(containers(deployment))["env"] if "value" in each}
    assert plain <= HARMLESS_VARIABLES
    assert next(containers(redact_object(deployment, REDACTOR)))["env"] == next(containers(deployment))["env"]


def test_a_variable_of_the_user_is_taken_out_of_spec_and_status() -> None:
    env = [{"name": "EXTRA", "value": "hunter2"}]
    found = {"spec": {"env": env}, "status": {"applied": {"spec": {"env": env}}, "previous": {"spec": {"env": env}}}}
    assert "hunter2" not in json.dumps(redact_object(found, REDACTOR))


def test_annotations_are_taken_out_unless_they_are_known_to_be_harmless() -> None:
    annotations = {
        "kubectl.kubernetes.io/last-applied-configuration": '{"spec":{"env":[{"name":"A","value":"hunter2"}]}}',
        "example.com/pasted": "hunter2",
        "switchboard.dev/retry": "20260126T110520Z-3f2a91bc",
        "deployment.kubernetes.io/revision": "3",
    }
    assert redact_object({"metadata": {"annotations": annotations}}, REDACTOR)["metadata"]["annotations"] == {
        "kubectl.kubernetes.io/last-applied-configuration": "***",
        "example.com/pasted": "***",
        "switchboard.dev/retry": "20260126T110520Z-3f2a91bc",
        "deployment.kubernetes.io/revision": "3",
    }


@pytest.mark.parametrize("value", ["hunter2", 12345678, 3.5])
def test_a_field_whose_name_says_secret_is_taken_out_whatever_it_holds(value: Any) -> None:
    assert redact_object({"a": [{"auth_token": value}]}, REDACTOR) == {"a": [{"auth_token": "***"}]}


def test_numbers_stay_numbers_unless_they_are_phone_numbers() -> None:
    found = {"replicas": 3, "to": 14155551267, "ready": True, "none": None}
    assert redact_object(found, REDACTOR) == {"replicas": 3, "to": "14155****67", "ready": True, "none": None}


def test_a_known_value_is_taken_out_of_names_too() -> None:
    redactor = Redactor(["hunter2hunter2"])
    assert redact_object({"labels": {"hunter2hunter2": "x"}}, redactor) == {"labels": {"***": "x"}}


def test_a_line_of_json_in_a_log_is_taken_apart() -> None:
    line = '2026-01-26T11:05:20Z {"event": "x", "token": "hun\\"ter2", "to": "4155551267", "n": 1}'
    assert redact_log(f"{line}\n", REDACTOR) == (
        '2026-01-26T11:05:20Z {"event": "x", "token": "***", "to": "41555***67", "n": 1}\n'
    )


def test_a_line_of_text_in_a_log_is_cleaned_as_it_stands() -> None:
    assert redact_log("a password=hunter2\n{broken\n", REDACTOR) == "a password=***\n{broken\n"


def test_values_that_are_taken_out_of_one_place_are_looked_for_elsewhere() -> None:
    env = [{"name": "SMTP", "value": "hunter2hunter2"}, {"name": "COLOUR", "value": "green"}]
    harmless = {"name": "LOG_LEVEL", "value": "long enough"}
    found = {"spec": {"env": [*env, harmless], "list": [{"apiKey": "key"}], "secretName": "switchboard-db"}}
    assert set(secret_values([found])) == {"hunter2hunter2", "key"}


def test_annotations_that_are_taken_out_are_looked_for_elsewhere() -> None:
    annotations = {
        "example.com/note": "pasted-secret",
        "example.com/json": '{"a": "b"}',
        "switchboard.dev/x": "harmless",
    }
    assert set(secret_values([{"metadata": {"annotations": annotations}}])) == {"pasted-secret"}


def test_secrets_themselves_are_no_place_to_look_for_plain_values() -> None:
    assert list(secret_values([{"kind": "Secret", "data": {"token": "aHVudGVyMg=="}}])) == []
