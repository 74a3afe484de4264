import signal, time, random
from integration.kernel_support import bench, kernel_database
from integration.worker_support import workshop, PLAIN
from switchboard_cli.devstack import EmbeddedValkey
import pytest
@pytest.mark.timeout(560)
def test_it(postgres, migrated_template, stack_folder):
    bad=[]
    with kernel_database(postgres, migrated_template) as urls, EmbeddedValkey(stack_folder/"vv") as valkey, bench(urls, valkey) as jobs, workshop(jobs, stack_folder/"stress") as shop:
        for i in range(16):
            w=shop.worker(argv=PLAIN).start()
            valkey.kill()
            time.sleep(random.random()*0.02)
            t=time.monotonic()
            w.process.send(signal.SIGTERM)
            ended=w.process.ended_within(12)
            took=time.monotonic()-t
            print(i, ended, w.process.returncode, round(took,2), "Logging error" in w.log)
            if w.process.returncode!=0: bad.append(w.log[-3000:])
            valkey.start()
    for b in bad: print(b)
    assert not bad
