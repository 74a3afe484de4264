"""Which test process runs which file, and in what order.

xdist gives out whole files, those with the most tests first. What takes longest here are a few files with a handful of
tests each: given out last, one process would run them alone while the others are idle. And a control plane is costly to
have: the tests that share one share a process.
"""

from xdist.scheduler import LoadFileScheduling
from xdist.workermanage import WorkerController

CONTROL_PLANE = "tests/apiserver"
LONGEST = (
    CONTROL_PLANE,
    # A control plane of its own: what it does to that one, nobody else could stand.
    "tests/apiserver/test_cluster_wide.py",
    "tests/integration/test_kills.py",
    "tests/integration/test_demo.py",
    "tests/integration/test_checklist.py",
    "tests/integration/test_trial.py",
    "tests/integration/test_worker_process.py",
    "tests/integration/test_transcription.py",
    "tests/integration/test_api_process.py",
    "tests/integration/test_ledger_kills.py",
)
"""In this order, before all others. A path that has no tests changes nothing."""


class LongestFirst(LoadFileScheduling):
    """``--dist loadfile``, with the longest work first and the shared control plane on one process."""

    def _split_scope(self, nodeid: str) -> str:
        """What a test is given out with: its file, or everything that shares the control plane."""
        file = super()._split_scope(nodeid)
        return CONTROL_PLANE if file.startswith(f"{CONTROL_PLANE}/") and file not in LONGEST else file

    def _assign_work_unit(self, node: WorkerController) -> None:
        """Give a process the longest work that is left, or else the file with the most tests."""
        longest = next((scope for scope in LONGEST if scope in self.workqueue), None)
        if longest is not None:
            self.workqueue.move_to_end(longest, last=False)
        super()._assign_work_unit(node)
