"""``kubectl switchboard pause`` and ``resume``: the operator looks on and changes nothing, or acts again."""

from kubectl_switchboard import gather, gitops
from kubectl_switchboard.advice import command
from kubectl_switchboard.kinds import SWITCHBOARD
from kubectl_switchboard.options import Context, Kubeconfig, Name, Namespace, open_cluster
from kubectl_switchboard.output import Output
from kubectl_switchboard.resource import Resource


def pause(
    name: Name = None, namespace: Namespace = None, *, context: Context = None, kubeconfig: Kubeconfig = None
) -> None:
    """Let the operator change nothing until it is resumed; pods and calls go on."""
    cluster = open_cluster(kubeconfig, context, namespace)
    resource = gather.find_only(cluster, name)
    out = Output()
    if resource.is_paused:
        out.line(f"{resource.name} in namespace {resource.namespace} is paused already.")
        return
    cluster.merge(SWITCHBOARD, resource.namespace, resource.name, {"spec": {"paused": True}})
    out.line(f"{resource.name} in namespace {resource.namespace} is paused.")
    for sentence in pause_sentences(resource):
        out.line(sentence)
    _mind_the_keeper(resource, out, paused=True)


def resume(
    name: Name = None, namespace: Namespace = None, *, context: Context = None, kubeconfig: Kubeconfig = None
) -> None:
    """Let the operator act again."""
    cluster = open_cluster(kubeconfig, context, namespace)
    resource = gather.find_only(cluster, name)
    out = Output()
    if not resource.is_paused:
        out.line(f"{resource.name} in namespace {resource.namespace} is not paused.")
        return
    cluster.merge(SWITCHBOARD, resource.namespace, resource.name, {"spec": {"paused": False}})
    out.line(f"{resource.name} in namespace {resource.namespace} is resumed.")
    for sentence in resume_sentences(resource):
        out.line(sentence)
    _mind_the_keeper(resource, out, paused=False)


def pause_sentences(resource: Resource) -> list[str]:
    """What a pause means for a Switchboard as it is now."""
    meaning = (
        "The operator changes nothing now: no migration, no roll-out, no repair, no scaling of its own (KEDA goes on "
        "scaling). Pods run on, and so do calls: a campaign is paused in the api."
    )
    found = [meaning]
    gate = resource.gate
    if gate and gate.state == "Running":
        found.append(
            f"The Job of transition {gate.number} (release {gate.version}, {gate.step}) is not stopped; its outcome is "
            "recorded after resuming."
        )
    return [*found, f"Go on with: {command('resume', resource)}"]


def resume_sentences(resource: Resource) -> list[str]:
    """What begins again."""
    found = ["The operator acts again: it repairs what was changed meanwhile."]
    gate = resource.gate
    if gate and gate.state in {"Failed", "Refused"}:
        found.append(f"Release {gate.version} is still held back: see `{command('status', resource)}`.")
    elif resource.applied and resource.applied != resource.wanted:
        found.append(f"It now brings release {resource.wanted} (release {resource.applied} serves).")
    return [*found, f"Follow it with: {command('status', resource)} --watch"]


def _mind_the_keeper(resource: Resource, out: Output, *, paused: bool) -> None:
    keeper = gitops.keeper(resource.found)
    if keeper:
        out.warn(gitops.warning(keeper, paused=paused))
