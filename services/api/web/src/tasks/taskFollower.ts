import { ProblemError } from "../api/problems";
import type { Task, TaskStatus, Ticket } from "../api/types";
import { TaskWebSocket } from "./TaskWebSocket";

export const POLL_MS = 2_000;
export const FIRST_RECONNECT_MS = 1_000;
export const LONGEST_RECONNECT_MS = 30_000;
/** Milliseconds without any answer, after which what is shown may mislead: then a person is told. */
export const STALE_MS = 15_000;

const TERMINAL: ReadonlySet<TaskStatus> = new Set<TaskStatus>(["completed", "failed", "cancelled"]);

/** Whether nothing can follow. */
export function isTerminal(task: Pick<Task, "status">): boolean {
  return TERMINAL.has(task.status);
}

/** Milliseconds until the next attempt: twice as long each time, spread so that clients do not come back as one. */
export function reconnectDelayMs(attempt: number, random: () => number): number {
  const longest = Math.min(LONGEST_RECONNECT_MS, FIRST_RECONNECT_MS * 2 ** attempt);
  return longest * (0.5 + random() / 2);
}

/** Where the tasks come from; the part of `Api` that following takes. */
export interface TaskSource {
  showTask: (taskId: number, signal: AbortSignal) => Promise<Task>;
  issueTicket: (taskId: number, signal: AbortSignal) => Promise<Ticket>;
}

export interface TaskFollowerOptions {
  source: TaskSource;
  taskId: number;
  useWebSocket: boolean;
  /** Called with each snapshot that is newer than the one before. */
  onTask: (task: Task) => void;
  /** Called with what a person has to know, such as that there is no such task; null once it is over. */
  onTrouble: (trouble: unknown) => void;
  random?: () => number;
}

/**
 * Follows a task to its end: by WebSocket first, by polling whenever that does not work.
 *
 * A broken socket is nothing that a person has to know, so only the console hears of it. While the socket is away the
 * task is polled, and the socket is tried again with growing pauses. Whatever arrives, the newest version wins.
 */
export class TaskFollower {
  readonly #options: TaskFollowerOptions;
  readonly #ended = new AbortController();
  #newest: Task | null = null;
  #socket: TaskWebSocket | null = null;
  #attempt = 0;
  #reconnectTimer: ReturnType<typeof setTimeout> | undefined;
  #pollTimer: ReturnType<typeof setInterval> | undefined;
  #asking = false;
  #askAgainAt = 0;
  #heardAt = Date.now();

  constructor(options: TaskFollowerOptions) {
    this.#options = options;
  }

  start(): void {
    if (this.#options.useWebSocket) this.#connect();
    else this.#startPolling();
  }

  /** Ends all timers and requests; nothing is called afterwards. */
  stop(): void {
    this.#ended.abort();
    this.#socket?.close();
    clearTimeout(this.#reconnectTimer);
    this.#stopPolling();
  }

  /** Takes a snapshot, from the socket, a poll or the answer to a cancel. */
  accept(task: Task): void {
    if (this.#ended.signal.aborted) return;
    this.#heardAt = Date.now();
    if (this.#newest === null || task.version > this.#newest.version) {
      this.#newest = task;
      this.#options.onTask(task);
    }
    if (isTerminal(this.#newest)) this.stop();
  }

  #connect(): void {
    const { source, taskId } = this.#options;
    this.#socket = new TaskWebSocket({
      issueTicket: (signal) => source.issueTicket(taskId, signal),
      onSnapshot: (task) => {
        this.#attempt = 0;
        this.#stopPolling();
        this.#options.onTrouble(null);
        this.accept(task);
      },
      onBroken: () => {
        this.#fallBack();
      },
    });
    void this.#socket.open();
  }

  #fallBack(): void {
    this.#socket = null;
    if (this.#pollTimer === undefined) {
      console.warn("WebSocket error, falling back to polling");
      this.#startPolling();
    }
    const delay = reconnectDelayMs(this.#attempt, this.#options.random ?? Math.random);
    this.#attempt += 1;
    this.#reconnectTimer = setTimeout(() => {
      this.#connect();
    }, delay);
  }

  #startPolling(): void {
    this.#pollTimer = setInterval(() => void this.#poll(), POLL_MS);
    void this.#poll();
  }

  #stopPolling(): void {
    clearInterval(this.#pollTimer);
    this.#pollTimer = undefined;
  }

  async #poll(): Promise<void> {
    if (this.#asking || Date.now() < this.#askAgainAt) return;
    this.#asking = true;
    try {
      const task = await this.#options.source.showTask(this.#options.taskId, this.#ended.signal);
      this.#options.onTrouble(null);
      this.accept(task);
    } catch (error) {
      this.#onFailedPoll(error);
    } finally {
      this.#asking = false;
    }
  }

  #onFailedPoll(error: unknown): void {
    if (this.#ended.signal.aborted) return;
    if (error instanceof ProblemError) {
      if (!error.temporary) {
        this.#options.onTrouble(error);
        this.stop();
        return;
      }
      this.#askAgainAt = Date.now() + (error.retryAfterMs ?? 0);
    }
    if (Date.now() - this.#heardAt >= STALE_MS) this.#options.onTrouble(error);
  }
}
