import { act, screen, waitFor } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it, vi } from "vitest";

import type { Task } from "../api/types";
import { fakeApi, refusal, task } from "../test/fakeApi";
import { FakeSocket } from "../test/fakeSocket";
import { renderSignedIn } from "../test/render";
import { TaskProgress, announcement } from "./TaskProgress";

const TICKET = { ticket: "t", url: "/ws/tasks/7?ticket=t", expires_in_s: 30 };

beforeEach(() => FakeSocket.install());

function show(answers: Record<string, unknown>, options: { useWebSocket?: boolean; visible?: boolean } = {}) {
  const api = fakeApi({ "POST /api/tasks/7/ticket": TICKET, ...answers });
  const onComplete = vi.fn<(ended: Task) => void>();
  const { useWebSocket = false, visible = true } = options;
  renderSignedIn(<TaskProgress visible={visible} taskId={7} useWebSocket={useWebSocket} onComplete={onComplete} />);
  return { api, onComplete };
}

describe("TaskProgress", () => {
  it("shows how far the task is", async () => {
    show({ "GET /api/tasks/7": task({ done: 20, failed: 5, total: 50 }) });
    expect(await screen.findByText("20 of 50 done, 5 failed")).toBeVisible();
    expect(screen.getByRole("progressbar", { name: "Progress" })).toHaveValue(50);
    expect(screen.getByText("Running")).toBeVisible();
  });

  it("shows no share where nobody knows the whole", async () => {
    show({ "GET /api/tasks/7": task({ done: 20, total: null }) });
    expect(await screen.findByText("20 done")).toBeVisible();
    expect(screen.getByRole("progressbar")).not.toHaveAttribute("value");
  });

  it("shows and asks nothing while it is not visible", () => {
    const { api } = show({}, { visible: false, useWebSocket: true });
    expect(screen.queryByRole("region")).toBeNull();
    expect(api.asked).toEqual([]);
  });

  it("follows the socket, and tells of the end once", async () => {
    const { onComplete } = show({}, { useWebSocket: true });
    await waitFor(() => expect(FakeSocket.made).toHaveLength(1));
    act(() => FakeSocket.last.send(task({ version: 4, done: 40 })));
    expect(screen.getByText("40 of 50 done")).toBeVisible();
    expect(onComplete).not.toHaveBeenCalled();
    act(() => FakeSocket.last.send(task({ version: 5, done: 50, status: "completed", result: { deleted: 1234 } })));
    act(() => FakeSocket.last.send(task({ version: 6, done: 50, status: "completed" })));
    expect(onComplete).toHaveBeenCalledTimes(1);
    expect(screen.getByText("1,234")).toBeVisible();
    expect(screen.queryByRole("button", { name: "Cancel task" })).toBeNull();
  });

  it("says nothing to a person when the socket breaks, and goes on", async () => {
    const warn = vi.spyOn(console, "warn").mockImplementation(() => undefined);
    show({ "GET /api/tasks/7": task({ version: 9, done: 45 }) }, { useWebSocket: true });
    await waitFor(() => expect(FakeSocket.made).toHaveLength(1));
    act(() => FakeSocket.last.drop());
    expect(await screen.findByText("45 of 50 done")).toBeVisible();
    expect(screen.queryByRole("alert")).toBeNull();
    expect(warn.mock.calls).toEqual([["WebSocket error, falling back to polling"]]);
  });

  it("lists the first errors, how many more there are, and offers all of them", async () => {
    const errors = Array.from({ length: 7 }, (_, number) => ({ item: `lead ${number}`, message: "is gone" }));
    const { api } = show({
      "GET /api/tasks/7": task({ errors, failed: 12 }),
      "GET /api/tasks/7/errors.csv": new Response("item,message\r\n"),
    });
    expect(await screen.findAllByRole("listitem")).toHaveLength(5);
    expect(screen.getByText("and 7 more")).toBeVisible();
    const saved = vi.spyOn(HTMLAnchorElement.prototype, "click").mockImplementation(() => undefined);
    await userEvent.click(screen.getByRole("button", { name: "Download errors (CSV)" }));
    await waitFor(() => expect(saved).toHaveBeenCalledTimes(1));
    expect(api.asked.at(-1)?.headers.get("Authorization")).toBe("Bearer sbk_test");
  });

  it("cancels the task and shows what the api answers", async () => {
    show({
      "GET /api/tasks/7": task(),
      "POST /api/tasks/7/cancel": task({ version: 4, status: "cancelled", reason: "Cancelled on request." }),
    });
    await userEvent.click(await screen.findByRole("button", { name: "Cancel task" }));
    expect(await screen.findByText("Cancelled on request.")).toBeVisible();
    expect(screen.getByText("Cancelled")).toBeVisible();
  });

  it("says why a task cannot be cancelled", async () => {
    show({
      "GET /api/tasks/7": task(),
      "POST /api/tasks/7/cancel": refusal(403, "Role too low", "This needs an API key with the role agent."),
    });
    await userEvent.click(await screen.findByRole("button", { name: "Cancel task" }));
    expect(await screen.findByRole("alert")).toHaveTextContent("Role too low. This needs an API key");
  });

  it("says that there is no such task", async () => {
    show({ "GET /api/tasks/7": refusal(404, "Not found", "There is no task 7.") });
    expect(await screen.findByRole("alert")).toHaveTextContent("There is no task 7.");
  });
});

describe("what a screen reader says", () => {
  it.each([
    [task({ done: 24, total: 100 }), "Task running, 0 percent."],
    [task({ done: 70, failed: 6, total: 100 }), "Task running, 75 percent."],
    [task({ total: null }), "Task running."],
    [task({ status: "failed", done: 1, failed: 2, total: 3 }), "Task failed: 1 of 3 done, 2 failed."],
  ])("is the state and the quarter", (given, said) => expect(announcement(given)).toBe(said));
});
