import { screen, waitFor, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { beforeEach, describe, expect, it } from "vitest";

import { fakeApi, nobody, refusal, run, task } from "./test/fakeApi";
import { FakeSocket } from "./test/fakeSocket";
import { renderApp } from "./test/render";

const BUSINESS = { "GET /api/business": { id: 42, name: "Acme Dental" } };
const TICKET = { "POST /api/tasks/7/ticket": { ticket: "t", url: "/ws/tasks/7?ticket=t", expires_in_s: 30 } };
const NO_RUNS = { "GET /api/outbound_calls/runs": { items: [], next_cursor: null } };

beforeEach(() => FakeSocket.install());

describe("signing in", () => {
  it("keeps the key in this tab only", async () => {
    fakeApi({ ...BUSINESS, ...NO_RUNS });
    renderApp("/", { signedIn: false });
    await userEvent.type(screen.getByLabelText("API key"), " sbk_mine ");
    await userEvent.click(screen.getByRole("button", { name: "Sign in" }));
    expect(await screen.findByText("Acme Dental")).toBeVisible();
    expect(sessionStorage.getItem("switchboard.key")).toBe("sbk_mine");
    expect(localStorage).toHaveLength(0);
    expect(document.cookie).toBe("");
  });

  it("says why a key is not accepted", async () => {
    fakeApi({ "GET /api/business": refusal(401, "Not authenticated", "This API key is not known.") });
    renderApp("/tasks", { signedIn: false });
    await userEvent.type(screen.getByLabelText("API key"), "sbk_wrong");
    await userEvent.click(screen.getByRole("button", { name: "Sign in" }));
    expect(await screen.findByRole("alert")).toHaveTextContent("This API key is not known.");
    expect(sessionStorage).toHaveLength(0);
  });

  it("forgets the key when one signs out", async () => {
    fakeApi({ ...BUSINESS, ...NO_RUNS });
    renderApp("/campaigns", { signedIn: true });
    await userEvent.click(screen.getByRole("button", { name: "Sign out" }));
    expect(screen.getByRole("heading", { name: "Sign in" })).toHaveFocus();
    await waitFor(() => expect(sessionStorage).toHaveLength(0));
  });

  it("ends when the key is revoked, and says so", async () => {
    fakeApi({
      ...BUSINESS,
      "GET /api/outbound_calls/runs": refusal(401, "Not authenticated", "This API key was revoked."),
    });
    renderApp("/campaigns", { signedIn: true });
    expect(await screen.findByText(/not accepted any more/)).toBeVisible();
  });
});

describe("tasks", () => {
  it("are listed, newest first, and lead to each one", async () => {
    fakeApi({
      ...BUSINESS,
      ...TICKET,
      "GET /api/tasks": { items: [task()], next_cursor: null },
      "GET /api/tasks/7": task(),
    });
    renderApp("/tasks", { signedIn: true });
    const row = (await screen.findByRole("link", { name: "Task 7" })).closest("tr");
    expect(within(row as HTMLElement).getByText("Delete leads")).toBeVisible();
    await userEvent.click(screen.getByRole("link", { name: "Task 7" }));
    expect(location.pathname).toBe("/tasks/7");
    expect(screen.getByRole("heading", { level: 1, name: "Task 7" })).toHaveFocus();
  });

  it("are filtered by state and type, and the filter stands in the address", async () => {
    const items = { items: [], next_cursor: null };
    fakeApi({
      ...BUSINESS,
      "GET /api/tasks": items,
      "GET /api/tasks?status=failed": items,
      "GET /api/tasks?status=failed&job_type=broadcast": items,
    });
    renderApp("/tasks", { signedIn: true });
    expect(await screen.findByText(/There are no tasks yet/)).toBeVisible();
    await userEvent.selectOptions(screen.getByLabelText("State"), "Failed");
    await userEvent.selectOptions(screen.getByLabelText("Type"), "Broadcast");
    expect(location.search).toBe("?status=failed&type=broadcast");
    expect(await screen.findByText("No task is like that.")).toBeVisible();
  });

  it("of another page come with its cursor", async () => {
    fakeApi({
      ...BUSINESS,
      "GET /api/tasks": { items: [task()], next_cursor: "abc" },
      "GET /api/tasks?cursor=abc": { items: [task({ id: 6 })], next_cursor: null },
    });
    renderApp("/tasks", { signedIn: true });
    await userEvent.click(await screen.findByRole("link", { name: "Older" }));
    expect(await screen.findByRole("link", { name: "Task 6" })).toBeVisible();
    expect(screen.getByRole("link", { name: "Newest" })).toHaveAttribute("href", "/tasks");
  });

  it("that cannot be loaded say why", async () => {
    fakeApi({ ...BUSINESS, "GET /api/tasks": nobody });
    renderApp("/tasks", { signedIn: true });
    expect(await screen.findByRole("alert")).toHaveTextContent("The server does not answer.");
  });
});

describe("a campaign", () => {
  const TASK = { ...TICKET, "GET /api/tasks/7": task({ job_type: "enqueue_outbound_calls" }) };

  function figure(name: string): string | null | undefined {
    return screen.getByText(name, { selector: "dt" }).parentElement?.querySelector("dd")?.textContent;
  }

  it("shows as active what the api says of live calls, and 0 when nobody is on the phone", async () => {
    const api = fakeApi({
      ...BUSINESS,
      ...TASK,
      "GET /api/outbound_calls/runs/4": run({}, { total: 10, active: 3, in_progress: 3, completed: 2, queued: 5 }),
    });
    renderApp("/campaigns/4", { signedIn: true });
    expect(await screen.findByRole("heading", { name: "Spring renewal" })).toBeVisible();
    expect(figure("Active")).toBe("3");
    expect(screen.getByRole("progressbar", { name: "Leads called" })).toHaveValue(20);
    api.answers["GET /api/outbound_calls/runs/4"] = run({ status: "completed" }, { total: 10, completed: 10 });
    await waitFor(() => expect(figure("Active")).toBe("0"));
  });

  it("is paused and resumed", async () => {
    const paused = run({ status: "paused" });
    const api = fakeApi({
      ...BUSINESS,
      ...TASK,
      "GET /api/outbound_calls/runs/4": run(),
      "POST /api/outbound_calls/runs/4/pause": () => (api.answers["GET /api/outbound_calls/runs/4"] = paused),
      "POST /api/outbound_calls/runs/4/resume": run(),
    });
    renderApp("/campaigns/4", { signedIn: true });
    await userEvent.click(await screen.findByRole("button", { name: "Pause" }));
    await userEvent.click(await screen.findByRole("button", { name: "Resume" }));
    expect(await screen.findByRole("button", { name: "Pause" })).toBeEnabled();
  });

  it.each([
    ["Cancel, let live calls end", "POST /api/outbound_calls/jobs/7/cancel"],
    ["Cancel and hang up now", "POST /api/outbound_calls/jobs/7/force-cancel"],
  ])("is cancelled with %j", async (choice, request) => {
    const over = run({ status: "cancelled" });
    const api = fakeApi({
      ...BUSINESS,
      ...TASK,
      "GET /api/outbound_calls/runs/4": run({}, { active: 2 }),
      [request]: () => (api.answers["GET /api/outbound_calls/runs/4"] = over),
    });
    renderApp("/campaigns/4", { signedIn: true });
    await userEvent.click(await screen.findByRole("button", { name: "Cancel campaign…" }));
    expect(screen.getByRole("dialog")).toHaveTextContent("Right now 2 calls are live.");
    await userEvent.click(screen.getByRole("button", { name: choice }));
    expect(await screen.findByText("Cancelled")).toBeVisible();
    expect(screen.queryByRole("button", { name: "Pause" })).toBeNull();
  });

  it("is started from a filter of leads", async () => {
    const api = fakeApi({
      ...BUSINESS,
      ...TASK,
      "POST /api/outbound_calls/runs": run(),
      "GET /api/outbound_calls/runs/4": run(),
    });
    renderApp("/campaigns/new", { signedIn: true });
    await userEvent.type(screen.getByLabelText("Name"), "Spring renewal");
    await userEvent.type(screen.getByLabelText("Message"), "Hello {{name}.");
    await userEvent.click(screen.getByRole("button", { name: "Start calling" }));
    expect(screen.getByRole("alert")).toHaveTextContent("Say whom to call");
    await userEvent.type(screen.getByLabelText("Tags"), "spring, vip");
    await userEvent.click(screen.getByRole("button", { name: "Start calling" }));
    expect(await screen.findByRole("heading", { name: "Spring renewal" })).toBeVisible();
    const order = api.asked.find((request) => request.path === "/api/outbound_calls/runs" && request.method === "POST");
    expect(order?.body).toMatchObject({ message: "Hello {name}.", leads: { tags: ["spring", "vip"] } });
  });

  it("counts the leads that are meant before it is started", async () => {
    const api = fakeApi({ ...BUSINESS, "POST /api/leads/count": { count: 1118, examples: [{ name: "Ada Moreno" }] } });
    renderApp("/campaigns/new", { signedIn: true });
    await userEvent.type(screen.getByLabelText("Tags"), "spring");
    expect(await screen.findByText(/1,118 leads are meant: Ada Moreno, …/)).toBeVisible();
    const asked = api.asked.filter((each) => each.path === "/api/leads/count");
    expect(asked.map((each) => each.body)).toEqual([{ filter: { tags: ["spring"] } }]);
    api.answers["POST /api/leads/count"] = { count: 0, examples: [] };
    await userEvent.click(screen.getByLabelText("Every lead"));
    expect(await screen.findByText("No lead meets that.")).toBeVisible();
  });

  it("is started once though the order was sent twice", async () => {
    const api = fakeApi({ ...BUSINESS, "POST /api/outbound_calls/runs": nobody });
    renderApp("/campaigns/new", { signedIn: true });
    await userEvent.type(screen.getByLabelText("Name"), "Spring");
    await userEvent.type(screen.getByLabelText("Message"), "Hello.");
    await userEvent.click(screen.getByLabelText("Every lead"));
    await userEvent.click(screen.getByRole("button", { name: "Start calling" }));
    expect(await screen.findByRole("alert")).toBeVisible();
    await userEvent.click(screen.getByRole("button", { name: "Start calling" }));
    await waitFor(() => expect(api.times("POST /api/outbound_calls/runs")).toBe(2));
    const keys = api.asked
      .filter((each) => `${each.method} ${each.path}` === "POST /api/outbound_calls/runs")
      .map((each) => each.headers.get("Idempotency-Key"));
    expect(keys[0]).toMatch(/^[0-9a-f]{32}$/);
    expect(keys[1]).toBe(keys[0]);
  });
});
