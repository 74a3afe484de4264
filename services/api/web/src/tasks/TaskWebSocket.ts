import type { Task, Ticket } from "../api/types";

/** Milliseconds that the socket gets to open. */
export const OPEN_LIMIT_MS = 5_000;
/** Milliseconds without a word, after which the socket is taken for dead: the api pings every ten seconds. */
export const QUIET_LIMIT_MS = 30_000;

export interface TaskWebSocketOptions {
  /** Gets a ticket, which opens the socket once. */
  issueTicket: (signal: AbortSignal) => Promise<Ticket>;
  /** Called with each snapshot. */
  onSnapshot: (task: Task) => void;
  /** Called once when the socket cannot be opened or breaks; never after `close`. */
  onBroken: () => void;
}

/** One connection to `/ws/tasks/{id}`. It lives once: whoever wants to reconnect makes a new one. */
export class TaskWebSocket {
  readonly #options: TaskWebSocketOptions;
  readonly #ended = new AbortController();
  #socket: WebSocket | null = null;
  #watchdog: ReturnType<typeof setTimeout> | undefined;

  constructor(options: TaskWebSocketOptions) {
    this.#options = options;
  }

  /** Gets a ticket and connects. */
  async open(): Promise<void> {
    try {
      const ticket = await this.#options.issueTicket(this.#ended.signal);
      if (!this.#ended.signal.aborted) this.#connect(new URL(ticket.url, location.origin));
    } catch {
      this.#break();
    }
  }

  /** Closes it without a word to anybody. */
  close(): void {
    this.#ended.abort();
    clearTimeout(this.#watchdog);
    this.#socket?.close();
    this.#socket = null;
  }

  #connect(url: URL): void {
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    const socket = new WebSocket(url);
    this.#socket = socket;
    this.#expectWordIn(OPEN_LIMIT_MS);
    socket.onmessage = (event: MessageEvent<unknown>) => {
      this.#read(event.data);
    };
    // An error is always followed by a close.
    socket.onclose = () => {
      this.#break();
    };
  }

  #read(data: unknown): void {
    if (this.#ended.signal.aborted) return;
    let message: { type?: unknown } | null;
    try {
      message = JSON.parse(String(data)) as { type?: unknown } | null;
    } catch {
      this.#break();
      return;
    }
    this.#expectWordIn(QUIET_LIMIT_MS);
    if (message?.type === "snapshot") this.#options.onSnapshot(message as unknown as Task);
  }

  #expectWordIn(limitMs: number): void {
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => {
      this.#break();
    }, limitMs);
  }

  #break(): void {
    if (this.#ended.signal.aborted) return;
    this.close();
    this.#options.onBroken();
  }
}
