import time, shutil, os
import stack as stack_module, kills, pytest
from integration import test_kills as t
from integration.test_kills import stack as stack  # noqa

@pytest.mark.timeout(500)
def test_debug(stack, monkeypatch):
    t0 = time.time()
    orig = kills.Stack.await_true
    def timed(self, cond, what, timeout=30.0):
        s = time.time()
        try:
            orig(self, cond, what, 240)
        finally:
            print(f"{time.time()-t0:7.1f} +{time.time()-s:6.1f} {what}", flush=True)
    monkeypatch.setattr(stack_module.Stack, "await_true", timed)
    try:
        t.test_a_campaign_survives_every_kill_without_a_lost_or_doubled_call(stack)
        print(stack.sim("GET","report")["creates"], stack.sim("GET","report")["callbacks"], stack.sim("GET","report")["recordings"])
    finally:
        shutil.rmtree("/tmp/kills_out", ignore_errors=True)
        shutil.copytree(stack.folder, "/tmp/kills_out")
        import json
        out = {tbl: stack.rows(f"select * from {tbl}") for tbl in ("call_attempts","outbound_call_jobs","recordings","background_jobs","outbound_call_runs")}
        json.dump(out, open("/tmp/kills_out/db.json","w"), default=str, indent=1)
