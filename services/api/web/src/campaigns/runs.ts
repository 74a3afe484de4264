import type { Run, RunCounts } from "../api/types";

const OVER: ReadonlySet<Run["status"]> = new Set<Run["status"]>(["completed", "failed", "cancelled"]);

/** Whether no call may be placed any more. Calls can live on for a while after a cancel. */
export function isOver(run: Pick<Run, "status">): boolean {
  return OVER.has(run.status);
}

/** Whether nothing can change any more: it is over and nobody is on the phone. */
export function isSettled(run: Pick<Run, "status" | "counts">): boolean {
  return isOver(run) && run.counts.active === 0;
}

/** How many leads have been dealt with, in percent; null before the leads have been counted. */
export function percentCalled(counts: RunCounts): number | null {
  if (counts.total === 0) return null;
  return Math.floor((100 * (counts.total - counts.queued - counts.active)) / counts.total);
}
