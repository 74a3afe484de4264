import { useRef, useState } from "react";

import type { Run } from "../api/types";
import { ErrorMessage } from "../parts/ErrorMessage";
import { useApi } from "../session/session";
import { CancelDialog } from "./CancelDialog";

interface RunControlsProps {
  run: Run;
  /** Takes the state after a pause or a resume. */
  onChange: (run: Run) => void;
  /** A cancel was asked for: look at the run again. */
  onCancelled: () => void;
}

/** Pause, resume and cancel, for a campaign that is not over. */
export function RunControls({ run, onChange, onCancelled }: RunControlsProps) {
  const api = useApi();
  const dialog = useRef<HTMLDialogElement>(null);
  const [asking, setAsking] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);
  const paused = run.status === "paused";

  async function ask(change: () => Promise<void>) {
    setAsking(true);
    setProblem(null);
    try {
      await change();
    } catch (error) {
      setProblem(error);
    } finally {
      setAsking(false);
    }
  }

  function toggle() {
    return ask(async () => onChange(await (paused ? api.resumeRun(run.id) : api.pauseRun(run.id))));
  }

  function cancel(jobId: number, hangUp: boolean) {
    dialog.current?.close();
    return ask(async () => {
      await (hangUp ? api.forceCancelRun(jobId) : api.cancelRun(jobId));
      onCancelled();
    });
  }

  const jobId = run.job_id;
  return (
    <div className="controls">
      <button type="button" disabled={asking} onClick={() => void toggle()}>
        {paused ? "Resume" : "Pause"}
      </button>
      {jobId !== null && (
        <>
          <button type="button" className="danger" disabled={asking} onClick={() => dialog.current?.showModal()}>
            Cancel campaign…
          </button>
          <CancelDialog ref={dialog} active={run.counts.active} onChoose={(hangUp) => void cancel(jobId, hangUp)} />
        </>
      )}
      {problem !== null && <ErrorMessage error={problem} />}
    </div>
  );
}
