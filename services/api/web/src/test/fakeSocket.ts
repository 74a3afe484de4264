import { vi } from "vitest";

import type { Task } from "../api/types";

/** A WebSocket whose other end is the test. */
export class FakeSocket {
  static made: FakeSocket[] = [];

  static install(): void {
    FakeSocket.made = [];
    vi.stubGlobal("WebSocket", FakeSocket);
  }

  /** The one that was made last. */
  static get last(): FakeSocket {
    const socket = FakeSocket.made.at(-1);
    if (socket === undefined) throw new Error("nobody has opened a socket");
    return socket;
  }

  readonly url: string;
  closed = false;
  onmessage: ((event: { data: unknown }) => void) | null = null;
  onclose: (() => void) | null = null;

  constructor(url: URL) {
    this.url = String(url);
    FakeSocket.made.push(this);
  }

  close(): void {
    this.closed = true;
  }

  /** The api sends a snapshot. */
  send(task: Task): void {
    this.receive(JSON.stringify({ type: "snapshot", ...task }));
  }

  receive(data: unknown): void {
    this.onmessage?.({ data });
  }

  /** The connection is lost. */
  drop(): void {
    this.onclose?.();
  }
}
