import type { Problem } from "./types";

/** The api answered with a problem (RFC 9457); its message says what to do. */
export class ProblemError extends Error {
  override readonly name = "ProblemError";
  readonly status: number;
  readonly title: string;
  /** Milliseconds that the api asks to wait before the next request; null where it does not say. */
  readonly retryAfterMs: number | null;

  constructor(problem: Pick<Problem, "status" | "title" | "detail">, retryAfterMs: number | null = null) {
    super(problem.detail);
    this.status = problem.status;
    this.title = problem.title;
    this.retryAfterMs = retryAfterMs;
  }

  /** Whether the same request may succeed later. */
  get temporary(): boolean {
    return this.status === 429 || this.status === 408 || this.status >= 500;
  }
}

/** No answer came: the server is away, or the network. */
export class UnreachableError extends Error {
  override readonly name = "UnreachableError";

  constructor() {
    super("The server does not answer. Check your connection; if it persists, tell the administrator.");
  }
}

/** What an answer other than success says, whoever wrote it: a proxy in between has no problem+json. */
export async function problemOf(response: Response): Promise<ProblemError> {
  const seconds = Number(response.headers.get("Retry-After") ?? Number.NaN);
  const retryAfterMs = Number.isFinite(seconds) ? seconds * 1000 : null;
  try {
    const body = (await response.json()) as Partial<Problem> | null;
    if (typeof body?.detail === "string" && typeof body.title === "string") {
      return new ProblemError({ status: response.status, title: body.title, detail: body.detail }, retryAfterMs);
    }
  } catch {
    // Not JSON: said below.
  }
  const detail = `The server answered with status ${response.status} and no explanation. Try again in a moment.`;
  return new ProblemError({ status: response.status, title: "Unexpected answer", detail }, retryAfterMs);
}

/** The sentence that a person sees. */
export function sentenceOf(error: unknown): string {
  return error instanceof Error ? error.message : "Something went wrong. Try again.";
}

/** Whether a request was given up by whoever began it. */
export function isAbort(error: unknown): boolean {
  return error instanceof DOMException && error.name === "AbortError";
}
