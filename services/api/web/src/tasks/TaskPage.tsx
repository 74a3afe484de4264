import { useCallback, useState } from "react";

import type { Task } from "../api/types";
import { PageHeading } from "../parts/PageHeading";
import { Timestamp } from "../parts/Timestamp";
import { Link } from "../router/router";
import { TaskProgress } from "./TaskProgress";

export function TaskPage({ taskId }: { taskId: number }) {
  const [ended, setEnded] = useState<Task | null>(null);
  const onComplete = useCallback((task: Task) => setEnded(task), []);

  return (
    <>
      <p className="back">
        <Link to="/tasks">All tasks</Link>
      </p>
      <PageHeading>{`Task ${taskId}`}</PageHeading>
      <TaskProgress visible taskId={taskId} useWebSocket onComplete={onComplete} />
      {ended !== null && (
        <dl className="facts card">
          <div>
            <dt>Created</dt>
            <dd>
              <Timestamp at={ended.created_at} />
            </dd>
          </div>
          <div>
            <dt>Started</dt>
            <dd>
              <Timestamp at={ended.started_at} />
            </dd>
          </div>
          <div>
            <dt>Ended</dt>
            <dd>
              <Timestamp at={ended.finished_at} />
            </dd>
          </div>
        </dl>
      )}
    </>
  );
}
