import { beforeEach, describe, expect, it, vi } from "vitest";

import { ProblemError, UnreachableError } from "../api/problems";
import type { Task } from "../api/types";
import { FakeSocket } from "../test/fakeSocket";
import { task } from "../test/fakeApi";
import { OPEN_LIMIT_MS, QUIET_LIMIT_MS } from "./TaskWebSocket";
import { LONGEST_RECONNECT_MS, POLL_MS, STALE_MS, TaskFollower, reconnectDelayMs } from "./taskFollower";

const WARNING = "WebSocket error, falling back to polling";

class Source {
  answer: () => Promise<Task> = () => Promise.resolve(task());
  ticketAnswer = () => Promise.resolve({ ticket: "t", url: "/ws/tasks/7?ticket=t", expires_in_s: 30 });
  readonly showTask = vi.fn(() => this.answer());
  readonly issueTicket = vi.fn(() => this.ticketAnswer());
}

let source: Source;
let seen: Task[];
let troubles: unknown[];
let warn: ReturnType<typeof vi.spyOn>;
let warnings: unknown[][];

beforeEach(() => {
  vi.useFakeTimers();
  FakeSocket.install();
  source = new Source();
  seen = [];
  troubles = [];
  warnings = [];
  warn = vi.spyOn(console, "warn").mockImplementation((...words: unknown[]) => void warnings.push(words));
});

function follow(useWebSocket: boolean): TaskFollower {
  const follower = new TaskFollower({
    source,
    taskId: 7,
    useWebSocket,
    onTask: (next) => seen.push(next),
    onTrouble: (trouble) => {
      if (trouble !== null) troubles.push(trouble);
    },
    random: () => 1,
  });
  follower.start();
  return follower;
}

const soon = () => vi.advanceTimersByTimeAsync(0);

describe("with a socket that works", () => {
  it("opens it with a ticket and never polls", async () => {
    follow(true);
    await soon();
    FakeSocket.last.send(task({ version: 4, done: 30 }));
    await vi.advanceTimersByTimeAsync(10 * POLL_MS);
    expect(FakeSocket.last.url).toBe("ws://localhost:3000/ws/tasks/7?ticket=t");
    expect(seen.map((each) => each.done)).toEqual([30]);
    expect(source.showTask).not.toHaveBeenCalled();
    expect(warn).not.toHaveBeenCalled();
  });

  it.each(["completed", "failed", "cancelled"] as const)("stops when the task is %s", async (status) => {
    follow(true);
    await soon();
    FakeSocket.last.send(task({ version: 9, status }));
    expect(FakeSocket.last.closed).toBe(true);
    expect(vi.getTimerCount()).toBe(0);
  });

  it("ignores what is older than what it has", async () => {
    follow(true);
    await soon();
    FakeSocket.last.send(task({ version: 5, done: 30 }));
    FakeSocket.last.send(task({ version: 4, done: 10 }));
    expect(seen.map((each) => each.done)).toEqual([30]);
  });

  it("keeps a quiet one that pings", async () => {
    follow(true);
    await soon();
    FakeSocket.last.send(task());
    for (let ping = 0; ping < 6; ping += 1) {
      await vi.advanceTimersByTimeAsync(QUIET_LIMIT_MS / 3);
      FakeSocket.last.receive('{"type":"ping"}');
    }
    expect(FakeSocket.made).toHaveLength(1);
  });
});

describe("with a socket that breaks", () => {
  it("polls at once and then every two seconds, and only the console hears of it", async () => {
    follow(true);
    await soon();
    FakeSocket.last.drop();
    await soon();
    expect(source.showTask).toHaveBeenCalledTimes(1);
    source.ticketAnswer = () => Promise.reject(new UnreachableError());
    await vi.advanceTimersByTimeAsync(2 * POLL_MS);
    expect(source.showTask).toHaveBeenCalledTimes(3);
    expect(warnings).toEqual([[WARNING]]);
    expect(troubles).toEqual([]);
  });

  it("comes back, and stops polling then", async () => {
    follow(true);
    await soon();
    FakeSocket.last.drop();
    await vi.advanceTimersByTimeAsync(1_000);
    expect(FakeSocket.made).toHaveLength(2);
    FakeSocket.last.send(task({ version: 8 }));
    source.showTask.mockClear();
    await vi.advanceTimersByTimeAsync(5 * POLL_MS);
    expect(source.showTask).not.toHaveBeenCalled();
  });

  it("warns again when a socket that came back breaks again", async () => {
    follow(true);
    await soon();
    FakeSocket.last.drop();
    await vi.advanceTimersByTimeAsync(1_000);
    FakeSocket.last.send(task({ version: 8 }));
    FakeSocket.last.drop();
    expect(warnings).toEqual([[WARNING], [WARNING]]);
  });

  it("stops polling and reconnecting when a poll finds the end", async () => {
    follow(true);
    await soon();
    source.answer = () => Promise.resolve(task({ version: 9, status: "completed" }));
    FakeSocket.last.drop();
    await soon();
    expect(seen.at(-1)?.status).toBe("completed");
    expect(vi.getTimerCount()).toBe(0);
  });

  it.each([
    ["that does not open", OPEN_LIMIT_MS, () => undefined],
    ["that falls silent", QUIET_LIMIT_MS, () => FakeSocket.last.send(task())],
  ])("gives one up %s", async (_, limit, before) => {
    follow(true);
    await soon();
    before();
    await vi.advanceTimersByTimeAsync(limit);
    expect(warnings).toEqual([[WARNING]]);
    expect(source.showTask).toHaveBeenCalled();
  });

  it("gives one up that talks nonsense", async () => {
    follow(true);
    await soon();
    FakeSocket.last.receive("<html>");
    expect(FakeSocket.made[0]?.closed).toBe(true);
    expect(warnings).toEqual([[WARNING]]);
  });

  it("falls back when there is no ticket", async () => {
    source.ticketAnswer = () => Promise.reject(new ProblemError({ status: 503, title: "No", detail: "No." }));
    follow(true);
    await soon();
    expect(FakeSocket.made).toEqual([]);
    expect(seen).toHaveLength(1);
    expect(warnings).toEqual([[WARNING]]);
  });
});

describe("polling", () => {
  it("clears its timer at a terminal state", async () => {
    source.answer = () => Promise.resolve(task({ status: "cancelled" }));
    follow(false);
    await soon();
    expect(vi.getTimerCount()).toBe(0);
  });

  it("goes on through an outage and tells of it only when it lasts", async () => {
    follow(false);
    await soon();
    source.answer = () => Promise.reject(new UnreachableError());
    await vi.advanceTimersByTimeAsync(STALE_MS - POLL_MS);
    expect(troubles).toEqual([]);
    await vi.advanceTimersByTimeAsync(2 * POLL_MS);
    expect(troubles[0]).toBeInstanceOf(UnreachableError);
    source.answer = () => Promise.resolve(task({ version: 9 }));
    await vi.advanceTimersByTimeAsync(POLL_MS);
    expect(seen.at(-1)?.version).toBe(9);
  });

  it("waits as long as it is told to", async () => {
    source.answer = () => Promise.reject(new ProblemError({ status: 429, title: "Slow", detail: "Slow." }, 9_000));
    follow(false);
    await vi.advanceTimersByTimeAsync(8_000);
    expect(source.showTask).toHaveBeenCalledTimes(1);
    await vi.advanceTimersByTimeAsync(POLL_MS);
    expect(source.showTask).toHaveBeenCalledTimes(2);
  });

  it("asks one question at a time", async () => {
    source.answer = () => new Promise(() => undefined);
    follow(false);
    await vi.advanceTimersByTimeAsync(10 * POLL_MS);
    expect(source.showTask).toHaveBeenCalledTimes(1);
  });

  it("ends with the reason where waiting does not help", async () => {
    const missing = new ProblemError({ status: 404, title: "Not found", detail: "There is no task 7." });
    source.answer = () => Promise.reject(missing);
    follow(false);
    await soon();
    expect(troubles).toEqual([missing]);
    expect(vi.getTimerCount()).toBe(0);
  });
});

it("leaves nothing behind when it is stopped", async () => {
  const follower = follow(true);
  await soon();
  FakeSocket.last.drop();
  await soon();
  follower.stop();
  expect(vi.getTimerCount()).toBe(0);
  const socket = FakeSocket.last;
  follower.accept(task({ version: 99 }));
  socket.send(task({ version: 100 }));
  expect(seen.map((each) => each.version)).toEqual([3]);
});

it("tries again at growing intervals that are spread and bounded", () => {
  expect([0, 1, 2, 3].map((attempt) => reconnectDelayMs(attempt, () => 1))).toEqual([1_000, 2_000, 4_000, 8_000]);
  expect(reconnectDelayMs(3, () => 0)).toBe(4_000);
  expect(reconnectDelayMs(50, () => 1)).toBe(LONGEST_RECONNECT_MS);
});
