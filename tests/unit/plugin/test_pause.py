"""What a pause means, and who would undo it."""

from typing import Any

import pytest

from kubectl_switchboard import gitops
from kubectl_switchboard.pause import pause_sentences, resume_sentences
from unit.plugin.situations import resource_in

OWNS: dict[str, Any] = {"f:spec": {"f:paused": {}, "f:version": {}}}
OTHER: dict[str, Any] = {"f:spec": {"f:version": {}}}


def managed(*entries: tuple[str, dict[str, Any]]) -> dict[str, Any]:
    return {
        "metadata": {
            "managedFields": [{"manager": name, "operation": "Apply", "fieldsV1": fields} for name, fields in entries]
        }
    }


@pytest.mark.parametrize(
    ("manager", "tool"),
    [
        ("argocd-controller", "Argo CD"),
        ("argocd-application-controller", "Argo CD"),
        ("kustomize-controller", "Flux"),
        ("helm-controller", "Flux"),
        ("flux-client-side-apply", "Flux"),
    ],
)
def test_a_gitops_tool_that_has_set_the_field_sets_it_back(manager: str, tool: str) -> None:
    keeper = gitops.keeper(managed((manager, OWNS)))
    assert keeper == gitops.Keeper(tool, owns_paused=True)
    assert f"{tool} manages spec.paused and will set it back" in gitops.warning(keeper, paused=True)
    assert "`paused: true` in Git" in gitops.warning(keeper, paused=True)


def test_a_gitops_tool_that_has_not_set_the_field_leaves_it() -> None:
    keeper = gitops.keeper(managed(("kubectl-edit", OWNS), ("argocd-controller", OTHER)))
    assert keeper == gitops.Keeper("Argo CD", owns_paused=False)
    assert "though not spec.paused so far" in gitops.warning(keeper, paused=False)


def test_helm_sets_it_back_only_with_its_next_upgrade() -> None:
    keeper = gitops.keeper(managed(("helm", OWNS)))
    assert keeper
    assert "the next `helm upgrade` may set spec.paused back" in gitops.warning(keeper, paused=True)


def test_people_and_the_operator_undo_nothing() -> None:
    assert gitops.keeper(managed(("kubectl-client-side-apply", OWNS), ("switchboard-operator", OTHER))) is None
    assert gitops.keeper({"metadata": {}}) is None


def test_a_status_is_no_sign_of_a_keeper() -> None:
    found = managed(("argocd-controller", OTHER))
    found["metadata"]["managedFields"][0]["subresource"] = "status"
    assert gitops.keeper(found) is None


def test_a_pause_says_that_calls_go_on() -> None:
    sentences = pause_sentences(resource_in("ready"))
    assert "Pods run on, and so do calls" in sentences[0]
    assert sentences[-1] == "Go on with: kubectl switchboard resume main -n ready"


def test_a_pause_says_what_becomes_of_a_migration_that_runs() -> None:
    assert "is not stopped; its outcome is recorded after resuming" in pause_sentences(resource_in("image-missing"))[1]


def test_resuming_says_which_release_comes() -> None:
    assert "It now brings release 1.1.0 (release 1.0.0 serves)." in resume_sentences(resource_in("paused"))


def test_resuming_says_that_a_release_is_still_held_back() -> None:
    assert any("Release 1.1.0 is still held back" in each for each in resume_sentences(resource_in("migration-failed")))
