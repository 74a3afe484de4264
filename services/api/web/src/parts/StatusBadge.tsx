import type { RunStatus, TaskStatus } from "../api/types";
import { words } from "../tasks/names";

/** The state in words; its colour only repeats them. */
export function StatusBadge({ status }: { status: RunStatus | TaskStatus }) {
  return <span className={`badge ${status}`}>{words(status)}</span>;
}
