import type { Task } from "../api/types";
import { DownloadButton } from "../parts/DownloadButton";
import { count } from "./names";

const SHOWN = 5;

/** The first items that failed, and all that are kept as CSV. */
export function TaskErrors({ task }: { task: Task }) {
  if (task.errors.length === 0) return null;
  const more = Math.max(task.failed, task.errors.length) - SHOWN;
  return (
    <div className="errors">
      <h3>Errors</h3>
      <ul>
        {task.errors.slice(0, SHOWN).map((error, index) => (
          <li key={`${index} ${error.item}`}>
            <strong>{error.item}</strong> {error.message}
          </li>
        ))}
      </ul>
      {more > 0 && <p className="muted">and {count(more)} more</p>}
      <DownloadButton path={`/api/tasks/${task.id}/errors.csv`} filename={`task-${task.id}-errors.csv`}>
        Download errors (CSV)
      </DownloadButton>
    </div>
  );
}
