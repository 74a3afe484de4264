import { useCallback, useEffect, useRef, useState } from "react";

import type { Task } from "../api/types";
import { TaskFollower, type TaskSource } from "./taskFollower";

export interface FollowedTask {
  task: Task | null;
  /** What a person has to know: there is no such task, or what is shown is old. */
  trouble: unknown;
  /** Takes a snapshot that came another way, as the answer to a cancel. */
  accept: (task: Task) => void;
}

interface Seen {
  taskId: number;
  task: Task | null;
  trouble: unknown;
}

/** Follows a task as long as the component lives and `enabled` holds. */
export function useTask(source: TaskSource, taskId: number, useWebSocket: boolean, enabled: boolean): FollowedTask {
  const [seen, setSeen] = useState<Seen>({ taskId, task: null, trouble: null });
  const follower = useRef<TaskFollower | null>(null);

  useEffect(() => {
    if (!enabled) return undefined;
    const own = new TaskFollower({
      source,
      taskId,
      useWebSocket,
      onTask: (task) => setSeen({ taskId, task, trouble: null }),
      onTrouble: (trouble) => {
        setSeen((before) => (before.taskId === taskId ? { ...before, trouble } : { taskId, task: null, trouble }));
      },
    });
    follower.current = own;
    own.start();
    return () => {
      own.stop();
    };
  }, [source, taskId, useWebSocket, enabled]);

  const accept = useCallback((task: Task) => follower.current?.accept(task), []);
  const current = seen.taskId === taskId ? seen : { task: null, trouble: null };
  return { task: current.task, trouble: current.trouble, accept };
}
