import { useEffect, useEffectEvent, useId, useState } from "react";

import { ErrorMessage } from "../parts/ErrorMessage";
import { ProgressBar } from "../parts/ProgressBar";
import { StatusBadge } from "../parts/StatusBadge";
import { useApi } from "../session/session";
import type { Task } from "../api/types";
import { TaskErrors } from "./TaskErrors";
import { TaskResult } from "./TaskResult";
import { countsSentence, percent, taskTypeName } from "./names";
import { isTerminal } from "./taskFollower";
import { useTask } from "./useTask";

export interface TaskProgressProps {
  /** When false, nothing is shown and nothing is asked. */
  visible: boolean;
  taskId: number;
  /** When false, the task is polled from the beginning. */
  useWebSocket: boolean;
  /** Called once, with the task, when it is completed, failed or cancelled. */
  onComplete: (task: Task) => void;
}

/** A task's progress as it happens, with a button that cancels it and the errors so far. */
export function TaskProgress({ visible, taskId, useWebSocket, onComplete }: TaskProgressProps) {
  const api = useApi();
  const { task, trouble, accept } = useTask(api, taskId, useWebSocket, visible);
  const heading = useId();
  const complete = useEffectEvent(onComplete);
  const ended = task !== null && isTerminal(task) ? task : null;

  useEffect(() => {
    if (ended !== null) complete(ended);
  }, [ended]);

  if (!visible) return null;
  return (
    <section className="card task-progress" aria-labelledby={heading}>
      <header>
        <h2 id={heading}>{task === null ? `Task ${taskId}` : `${taskTypeName(task.job_type)} · task ${task.id}`}</h2>
        {task !== null && <StatusBadge status={task.status} />}
      </header>
      {task === null && trouble === null && <p className="muted">Loading…</p>}
      {task !== null && (
        <>
          <ProgressBar
            label="Progress"
            value={task.status === "completed" ? 100 : percent(task)}
            still={ended !== null}
          />
          <p className="counts">{countsSentence(task)}</p>
          {task.reason !== null && task.reason !== undefined && <p className="reason">{task.reason}</p>}
          {ended === null && <CancelButton task={task} onAnswer={accept} />}
          <TaskErrors task={task} />
          {ended !== null && <TaskResult result={task.result} />}
        </>
      )}
      {trouble !== null && <ErrorMessage error={trouble} />}
      <p className="visually-hidden" role="status">
        {task === null ? "" : announcement(task)}
      </p>
    </section>
  );
}

/** What a screen reader says: each state, and each quarter of the way, not each number. */
export function announcement(task: Task): string {
  if (isTerminal(task)) return `Task ${task.status}: ${countsSentence(task)}.`;
  const share = percent(task);
  return share === null ? `Task ${task.status}.` : `Task ${task.status}, ${25 * Math.floor(share / 25)} percent.`;
}

function CancelButton({ task, onAnswer }: { task: Task; onAnswer: (task: Task) => void }) {
  const api = useApi();
  const [asking, setAsking] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);

  async function cancel() {
    setAsking(true);
    setProblem(null);
    try {
      onAnswer(await api.cancelTask(task.id));
    } catch (error) {
      setProblem(error);
    } finally {
      setAsking(false);
    }
  }

  const underWay = asking || task.cancel_requested === true;
  return (
    <>
      <button type="button" className="danger" disabled={underWay} onClick={() => void cancel()}>
        {underWay ? "Cancelling…" : "Cancel task"}
      </button>
      {problem !== null && <ErrorMessage error={problem} />}
    </>
  );
}
