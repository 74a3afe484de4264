import type { Task } from "../api/types";

/** What people call each type of task. A type that is not here is shown by its own name. */
export const TASK_TYPES: Readonly<Record<string, string>> = {
  enqueue_outbound_calls: "Campaign",
  delete_leads: "Delete leads",
  update_leads: "Change leads",
  delete_imported_leads: "Delete an import",
  restore_leads: "Restore leads",
  send_payment_receipt_job: "Send a receipt",
  delete_receipts_all: "Delete all receipts",
  receipts_sync: "Collect receipts",
  background_sort_task: "Sort a mailbox",
  voice_search_task: "Search",
  sync_ledger: "Sync the ledger",
  broadcast: "Broadcast",
};

export function taskTypeName(jobType: string): string {
  return TASK_TYPES[jobType] ?? jobType;
}

/** `20 of 50 done, 2 failed`. */
export function countsSentence(task: Pick<Task, "done" | "failed" | "total">): string {
  const done = task.total === null ? `${count(task.done)} done` : `${count(task.done)} of ${count(task.total)} done`;
  return task.failed > 0 ? `${done}, ${count(task.failed)} failed` : done;
}

/** What share has been dealt with, in percent; null where nobody knows the whole. */
export function percent(task: Pick<Task, "done" | "failed" | "total">): number | null {
  if (task.total === null || task.total <= 0) return null;
  return Math.min(100, Math.floor((100 * (task.done + task.failed)) / task.total));
}

/** The same everywhere, whatever the browser's language: the pages are in English. */
export function count(value: number): string {
  return value.toLocaleString("en");
}

/** The member names of the api, as words. */
export function words(name: string): string {
  const spaced = name.replaceAll("_", " ");
  return spaced.charAt(0).toUpperCase() + spaced.slice(1);
}
