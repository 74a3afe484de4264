import createClient, { type Client } from "openapi-fetch";

import { ProblemError, UnreachableError, isAbort, problemOf } from "./problems";
import type { paths } from "./schema";
import type { Business, LeadCount, LeadFilter, Page, Run, RunOrder, Task, TaskStatus, Ticket } from "./types";

/** Milliseconds after which an answer is not waited for any longer. */
const TIMEOUT_MS = 10_000;

export interface TaskQuery {
  status?: TaskStatus | undefined;
  job_type?: string | undefined;
  cursor?: string | undefined;
}

/** The api, for one key. Every method throws `ProblemError` or `UnreachableError`, whose messages are for people. */
export class Api {
  readonly #key: string;
  readonly #onRefusedKey: () => void;
  readonly #client: Client<paths>;

  /**
   * @param key API key of the business.
   * @param onRefusedKey called when the api does not accept the key (any more).
   */
  constructor(key: string, onRefusedKey: () => void = () => undefined) {
    this.#key = key;
    this.#onRefusedKey = onRefusedKey;
    this.#client = createClient<paths>({ baseUrl: location.origin, fetch: (request) => this.#send(request) });
  }

  async showBusiness(signal?: AbortSignal): Promise<Business> {
    return body(await this.#client.GET("/api/business", { signal: signal ?? null }));
  }

  async listTasks(query: TaskQuery, signal: AbortSignal): Promise<Page<Task>> {
    return body(await this.#client.GET("/api/tasks", { params: { query: given(query) }, signal }));
  }

  async showTask(taskId: number, signal: AbortSignal): Promise<Task> {
    return body(await this.#client.GET("/api/tasks/{task_id}", { params: { path: { task_id: taskId } }, signal }));
  }

  async cancelTask(taskId: number): Promise<Task> {
    return body(await this.#client.POST("/api/tasks/{task_id}/cancel", { params: { path: { task_id: taskId } } }));
  }

  async issueTicket(taskId: number, signal: AbortSignal): Promise<Ticket> {
    const params = { path: { task_id: taskId } };
    return body(await this.#client.POST("/api/tasks/{task_id}/ticket", { params, signal }));
  }

  async listRuns(cursor: string | undefined, signal: AbortSignal): Promise<Page<Run>> {
    return body(await this.#client.GET("/api/outbound_calls/runs", { params: { query: given({ cursor }) }, signal }));
  }

  async showRun(runId: number, signal: AbortSignal): Promise<Run> {
    const params = { path: { run_id: runId } };
    return body(await this.#client.GET("/api/outbound_calls/runs/{run_id}", { params, signal }));
  }

  /** How many leads a filter means; nothing is done to them. */
  async countLeads(filter: LeadFilter, signal: AbortSignal): Promise<LeadCount> {
    return body(await this.#client.POST("/api/leads/count", { body: { filter }, signal }));
  }

  /** @param idempotencyKey the same one for the same order: sent twice, it starts one campaign. */
  async startRun(order: RunOrder, idempotencyKey: string): Promise<Run> {
    const params = { header: { "Idempotency-Key": idempotencyKey } };
    return body(await this.#client.POST("/api/outbound_calls/runs", { params, body: order }));
  }

  async pauseRun(runId: number): Promise<Run> {
    const params = { path: { run_id: runId } };
    return body(await this.#client.POST("/api/outbound_calls/runs/{run_id}/pause", { params }));
  }

  async resumeRun(runId: number): Promise<Run> {
    const params = { path: { run_id: runId } };
    return body(await this.#client.POST("/api/outbound_calls/runs/{run_id}/resume", { params }));
  }

  /** No further call is placed; calls that live go on to their end. */
  async cancelRun(jobId: number): Promise<void> {
    await this.#client.POST("/api/outbound_calls/jobs/{job_id}/cancel", { params: { path: { job_id: jobId } } });
  }

  /** No further call is placed, and calls that live are hung up. */
  async forceCancelRun(jobId: number): Promise<void> {
    await this.#client.POST("/api/outbound_calls/jobs/{job_id}/force-cancel", { params: { path: { job_id: jobId } } });
  }

  /** A file that needs the key, which a plain link cannot send. */
  async download(path: string): Promise<Blob> {
    return (await this.#send(new Request(new URL(path, location.origin)))).blob();
  }

  async #send(request: Request): Promise<Response> {
    request.headers.set("Authorization", `Bearer ${this.#key}`);
    let response: Response;
    try {
      response = await fetch(request, { signal: AbortSignal.any([request.signal, AbortSignal.timeout(TIMEOUT_MS)]) });
    } catch (error) {
      if (isAbort(error)) throw error;
      throw new UnreachableError();
    }
    if (response.ok) return response;
    const problem: ProblemError = await problemOf(response);
    if (problem.status === 401) this.#onRefusedKey();
    throw problem;
  }
}

/** What was answered; `#send` has thrown for everything but success. */
function body<Body>(answer: { data?: Body }): Body {
  if (answer.data === undefined) throw new UnreachableError();
  return answer.data;
}

/** Without the members that are not set: they do not belong into the address. */
function given<Query extends object>(query: Query): { [Name in keyof Query]?: Exclude<Query[Name], undefined | ""> } {
  return Object.fromEntries(Object.entries(query).filter(([, value]) => value !== undefined && value !== "")) as never;
}

/** A value that nobody else has, for `Idempotency-Key`. `crypto.randomUUID` is missing on plain HTTP. */
export function uniqueValue(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}
