"""Worker processes and background jobs for the two proofs about the kernel: recovery, and an emptied Valkey."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from faults.run import servers_of_its_own
from integration.kernel_support import bench, kernel_database
from integration.worker_support import Worker, Workshop, workshop

_COUNTING_WORKER = (str(Path(__file__).with_name("worker.py")),)
# The product's defaults, which the tests of the kernel shorten.
_DEFAULTS = {"LEASE_SECONDS": "10", "SWEEP_INTERVAL_SECONDS": "1"}


@contextmanager
def crowd(folder: Path, **settings: str) -> Iterator[Workshop]:
    """Servers of their own, a bench for jobs, and a place to start workers in.

    Args:
        folder: for servers and logs; stays.
        settings: of every process, by their names in the environment.
    """
    with ExitStack() as opened:
        postgres, valkey, served = opened.enter_context(servers_of_its_own(folder))
        template = served.owner.rpartition("/")[2]
        urls = opened.enter_context(kernel_database(postgres, template))
        jobs = opened.enter_context(bench(urls, valkey, **settings))
        yield opened.enter_context(workshop(jobs, folder / "services", **_DEFAULTS, **settings))


def counting_workers(shop: Workshop, number: int) -> list[Worker]:
    """Start workers whose ``delete_leads`` is that of ``faults.worker``, and wait until they are ready."""
    workers = [shop.worker(argv=_COUNTING_WORKER).start(wait=False) for _ in range(number)]
    for worker in workers:
        worker.process.wait_ready(f"{worker.url}/api/ready", 60)
    return workers
