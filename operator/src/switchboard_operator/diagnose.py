"""Asks pods that are not ready what they wait for: the services answer that in one sentence.

A Deployment only says that a pod is not ready. That the database is down, or who has to migrate it, only the pod knows.
"""

import asyncio
from collections.abc import Iterable, Mapping

import aiohttp

from switchboard_operator.resources.pods import API_PORT, METRICS_PORT
from switchboard_operator.snapshot import PodView

_TIMEOUT_S = 2.0
_ASKED_AT_MOST = 3
_LONGEST_SENTENCE = 500
_PORTS = {"api": API_PORT, "worker": METRICS_PORT, "recorder": METRICS_PORT}


def sentence_in(answer: object) -> str:
    """The reason in the body of ``/api/ready``: the api's problem document, or what worker and recorder wait for."""
    if not isinstance(answer, Mapping):
        return ""
    found = answer.get("detail") or answer.get("waiting_for")
    return str(found)[:_LONGEST_SENTENCE] if found else ""


async def why_unready(pods: Iterable[PodView]) -> dict[str, str]:
    """What pods wait for, by name; those that do not answer are left out.

    Args:
        pods: of one Switchboard; only a few that run and are not ready are asked.
    """
    asked = [pod for pod in pods if pod.unready and pod.ip and pod.role in _PORTS][:_ASKED_AT_MOST]
    if not asked:
        return {}
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session:
        sentences = await asyncio.gather(*(_ask(session, pod) for pod in asked))
    return {pod.name: sentence for pod, sentence in zip(asked, sentences, strict=True) if sentence}


async def _ask(session: aiohttp.ClientSession, pod: PodView) -> str:
    host = f"[{pod.ip}]" if ":" in pod.ip else pod.ip
    try:
        async with session.get(f"http://{host}:{_PORTS[pod.role or '']}/api/ready") as answer:
            return "" if answer.ok else sentence_in(await answer.json(content_type=None))
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return ""
