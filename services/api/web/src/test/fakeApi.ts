import { vi } from "vitest";

import type { Run, RunCounts, Task } from "../api/types";

type Answer = unknown;
type Answers = Record<string, Answer>;

export interface Asked {
  method: string;
  path: string;
  headers: Headers;
  body: unknown;
}

/** What the api answers by method and path, and what it was asked. */
export interface FakeApi {
  answers: Answers;
  asked: Asked[];
  /** How often this was asked, such as `GET /api/tasks/7`. */
  times: (what: string) => number;
}

/** An answer other than 200. */
export function refusal(status: number, title: string, detail: string, headers: Record<string, string> = {}): Response {
  const type = { "Content-Type": "application/problem+json", ...headers };
  return new Response(JSON.stringify({ type: "urn:test", title, status, detail }), { status, headers: type });
}

/** Replaces `fetch`. An answer is a body, a `Response`, an `Error` (nobody answers) or a function that makes one. */
export function fakeApi(answers: Answers): FakeApi {
  const api: FakeApi = {
    answers,
    asked: [],
    times: (what) => api.asked.filter((request) => `${request.method} ${request.path}` === what).length,
  };
  vi.stubGlobal("fetch", async (request: Request) => {
    const url = new URL(request.url);
    const path = url.pathname + url.search;
    const text = await request.text();
    const body: unknown = text === "" ? null : JSON.parse(text);
    api.asked.push({ method: request.method, path, headers: request.headers, body });
    const given = api.answers[`${request.method} ${path}`];
    const answer: unknown = typeof given === "function" ? (given as () => unknown)() : given;
    if (answer instanceof Error) throw answer;
    if (answer instanceof Response) return answer.clone();
    if (answer === undefined) throw new Error(`the test has no answer to ${request.method} ${path}`);
    return Response.json(answer);
  });
  return api;
}

/** Nobody answers. */
export const nobody = new TypeError("Failed to fetch");

export function task(members: Partial<Task> = {}): Task {
  return {
    id: 7,
    job_type: "delete_leads",
    queue: "maintenance",
    status: "running",
    total: 50,
    done: 20,
    failed: 0,
    errors: [],
    version: 3,
    created_at: "2026-01-26T11:05:20Z",
    ...members,
  };
}

const NO_CALLS: RunCounts = {
  total: 0,
  queued: 0,
  active: 0,
  dialing: 0,
  uncertain: 0,
  ringing: 0,
  in_progress: 0,
  canceling: 0,
  completed: 0,
  busy: 0,
  no_answer: 0,
  failed: 0,
  canceled: 0,
  skipped: 0,
};

export function run(members: Partial<Omit<Run, "counts">> = {}, counts: Partial<RunCounts> = {}): Run {
  return {
    id: 4,
    name: "Spring renewal",
    status: "running",
    reason: null,
    job_id: 7,
    counts: { ...NO_CALLS, ...counts },
    waiting_for: null,
    next_call_at: null,
    created_at: "2026-01-26T11:05:20Z",
    started_at: "2026-01-26T11:05:21Z",
    finished_at: null,
    ...members,
  };
}
