import { useCallback, useId } from "react";

import type { Task, TaskStatus } from "../api/types";
import { ErrorMessage } from "../parts/ErrorMessage";
import { PageHeading } from "../parts/PageHeading";
import { Pager } from "../parts/Pager";
import { ProgressBar } from "../parts/ProgressBar";
import { StatusBadge } from "../parts/StatusBadge";
import { Timestamp } from "../parts/Timestamp";
import { usePolled } from "../parts/usePolled";
import { Link, navigate, useQuery } from "../router/router";
import { useApi } from "../session/session";
import { TASK_TYPES, countsSentence, percent, taskTypeName, words } from "./names";

const STATUSES: readonly TaskStatus[] = ["pending", "running", "completed", "failed", "cancelled"];
const REFRESH_MS = 2_000;

/** The filter stands in the address, so that a list can be bookmarked and the back button works. */
function addressOf(filter: { status: string; type: string; cursor?: string | undefined }): string {
  const set = Object.entries(filter).filter((entry): entry is [string, string] => Boolean(entry[1]));
  const query = new URLSearchParams(set).toString();
  return query === "" ? "/tasks" : `/tasks?${query}`;
}

export function TasksPage() {
  const api = useApi();
  const query = useQuery();
  const status = query.get("status") ?? "";
  const type = query.get("type") ?? "";
  const cursor = query.get("cursor") ?? undefined;
  const load = useCallback(
    (signal: AbortSignal) => api.listTasks({ status: knownStatus(status), job_type: type, cursor }, signal),
    [api, status, type, cursor],
  );
  const { value: page, problem } = usePolled(load, REFRESH_MS);

  return (
    <>
      <PageHeading>Tasks</PageHeading>
      <form className="filters" onSubmit={(event) => event.preventDefault()}>
        <Select label="State" value={status} onChange={(next) => navigate(addressOf({ status: next, type }))}>
          {STATUSES.map((name) => [name, words(name)])}
        </Select>
        <Select label="Type" value={type} onChange={(next) => navigate(addressOf({ status, type: next }))}>
          {Object.entries(TASK_TYPES)}
        </Select>
      </form>
      {problem !== null && <ErrorMessage error={problem} />}
      {page === null && problem === null && <p className="muted">Loading…</p>}
      {page?.items.length === 0 && (
        <p className="empty">
          {status || type ? "No task is like that." : "There are no tasks yet. Starting a campaign makes one."}
        </p>
      )}
      {page !== null && page.items.length > 0 && <TaskTable tasks={page.items} />}
      {page !== null && (
        <Pager
          first={addressOf({ status, type })}
          atFirst={cursor === undefined}
          next={page.next_cursor ? addressOf({ status, type, cursor: page.next_cursor }) : null}
        />
      )}
    </>
  );
}

function knownStatus(name: string): TaskStatus | undefined {
  return STATUSES.find((status) => status === name);
}

function TaskTable({ tasks }: { tasks: Task[] }) {
  return (
    <div className="table" tabIndex={0} role="region" aria-label="Tasks">
      <table>
        <thead>
          <tr>
            <th scope="col">Task</th>
            <th scope="col">Type</th>
            <th scope="col">State</th>
            <th scope="col">Progress</th>
            <th scope="col">Created</th>
          </tr>
        </thead>
        <tbody>
          {tasks.map((task) => (
            <tr key={task.id}>
              <th scope="row">
                <Link to={`/tasks/${task.id}`}>{`Task ${task.id}`}</Link>
              </th>
              <td>{taskTypeName(task.job_type)}</td>
              <td>
                <StatusBadge status={task.status} />
              </td>
              <td>
                <ProgressBar label={`Progress of task ${task.id}`} value={percent(task)} still />
                {countsSentence(task)}
              </td>
              <td>
                <Timestamp at={task.created_at} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

interface SelectProps {
  label: string;
  value: string;
  onChange: (value: string) => void;
  children: (readonly [value: string, words: string])[];
}

function Select({ label, value, onChange, children }: SelectProps) {
  const id = useId();
  return (
    <div>
      <label htmlFor={id}>{label}</label>
      <select id={id} value={value} onChange={(event) => onChange(event.target.value)}>
        <option value="">All</option>
        {children.map(([name, text]) => (
          <option key={name} value={name}>
            {text}
          </option>
        ))}
      </select>
    </div>
  );
}
