import { useCallback, useState } from "react";

import type { Run, RunCounts } from "../api/types";
import { DownloadButton } from "../parts/DownloadButton";
import { ErrorMessage } from "../parts/ErrorMessage";
import { PageHeading } from "../parts/PageHeading";
import { ProgressBar } from "../parts/ProgressBar";
import { StatusBadge } from "../parts/StatusBadge";
import { Timestamp } from "../parts/Timestamp";
import { usePolled } from "../parts/usePolled";
import { Link } from "../router/router";
import { useApi } from "../session/session";
import { TaskProgress } from "../tasks/TaskProgress";
import { count, words } from "../tasks/names";
import { RunControls } from "./RunControls";
import { isOver, isSettled, percentCalled } from "./runs";

const REFRESH_MS = 1_000;
const OUTCOMES = [
  "completed",
  "busy",
  "no_answer",
  "failed",
  "canceled",
  "skipped",
] as const satisfies (keyof RunCounts)[];

export function CampaignPage({ runId }: { runId: number }) {
  const api = useApi();
  const load = useCallback((signal: AbortSignal) => api.showRun(runId, signal), [api, runId]);
  const { value: run, problem, refresh, show } = usePolled(load, REFRESH_MS, isSettled);

  return (
    <>
      <p className="back">
        <Link to="/campaigns">All campaigns</Link>
      </p>
      <PageHeading aside={run !== null && <StatusBadge status={run.status} />}>
        {run?.name ?? `Campaign ${runId}`}
      </PageHeading>
      {problem !== null && <ErrorMessage error={problem} />}
      {run === null && problem === null && <p className="muted">Loading…</p>}
      {run !== null && (
        <>
          {!isOver(run) && <RunControls run={run} onChange={show} onCancelled={refresh} />}
          <Calls run={run} />
          <Preparation run={run} onComplete={refresh} />
        </>
      )}
    </>
  );
}

function Calls({ run }: { run: Run }) {
  return (
    <section className="card" aria-labelledby="calls">
      <h2 id="calls">Calls</h2>
      <ProgressBar label="Leads called" value={percentCalled(run.counts)} still={isOver(run)} />
      {run.reason !== null && <p className="reason">{run.reason}</p>}
      {run.waiting_for !== null && run.waiting_for !== undefined && (
        <p className="reason">
          Waiting: {run.waiting_for}. Next call: <Timestamp at={run.next_call_at} />
        </p>
      )}
      <dl className="figures">
        <Figure name="Active" value={run.counts.active} className="active" />
        <Figure name="Queued" value={run.counts.queued} />
        {OUTCOMES.map((outcome) => (
          <Figure key={outcome} name={words(outcome)} value={run.counts[outcome]} />
        ))}
        <Figure name="Total" value={run.counts.total} />
      </dl>
      <DownloadButton path={`/api/outbound_calls/runs/${run.id}/results.csv`} filename={`run-${run.id}-results.csv`}>
        Download results (CSV)
      </DownloadButton>
    </section>
  );
}

function Figure({ name, value, className }: { name: string; value: number; className?: string }) {
  return (
    <div className={className}>
      <dt>{name}</dt>
      <dd>{count(value)}</dd>
    </div>
  );
}

/** The campaign's background task, whose errors are those of its calls. */
function Preparation({ run, onComplete }: { run: Run; onComplete: () => void }) {
  // A socket for a task that has ended tells nothing new: its last state is read once.
  const [useWebSocket] = useState(!isOver(run));
  if (run.job_id === null) return null;
  return <TaskProgress visible taskId={run.job_id} useWebSocket={useWebSocket} onComplete={onComplete} />;
}
