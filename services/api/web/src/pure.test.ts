import { describe, expect, it } from "vitest";

import { ProblemError, problemOf } from "./api/problems";
import { EMPTY_FORM, FormError, leadFilterOf, orderOf } from "./campaigns/order";
import { isSettled, percentCalled } from "./campaigns/runs";
import { routeOf } from "./router/routes";
import { percent, taskTypeName } from "./tasks/names";
import { refusal, run, task } from "./test/fakeApi";

describe("routes", () => {
  it.each([
    ["/", { page: "home" }],
    ["/tasks", { page: "tasks" }],
    ["/tasks/17", { page: "task", id: 17 }],
    ["/campaigns/new", { page: "new-campaign" }],
    ["/campaigns/3", { page: "campaign", id: 3 }],
    ["/campaigns/0", { page: "unknown" }],
    ["/tasks/17/more", { page: "unknown" }],
    ["/constructor", { page: "unknown" }],
  ])("%s is a page or is none", (path, route) => expect(routeOf(path)).toEqual(route));
});

describe("problems", () => {
  it("say what the api says, and how long to wait", async () => {
    const problem = await problemOf(refusal(429, "Too many requests", "Wait 3 s.", { "Retry-After": "3" }));
    expect(problem).toMatchObject({ message: "Wait 3 s.", title: "Too many requests", retryAfterMs: 3_000 });
    expect(problem.temporary).toBe(true);
  });

  it("say something useful of a proxy's page too", async () => {
    const problem = await problemOf(new Response("<html>Bad gateway</html>", { status: 502 }));
    expect(problem.message).toContain("status 502");
  });

  it.each([
    [400, false],
    [404, false],
    [429, true],
    [503, true],
  ])("with status %i are temporary: %s", (status, temporary) =>
    expect(new ProblemError({ status, title: "t", detail: "d" }).temporary).toBe(temporary),
  );
});

describe("an order", () => {
  it("means every lead only when that was said", () => {
    expect(leadFilterOf({ ...EMPTY_FORM, whom: "all", tags: "left over" })).toEqual({ all: true });
    expect(() => leadFilterOf(EMPTY_FORM)).toThrow(FormError);
  });

  it("combines conditions", () => {
    const form = { ...EMPTY_FORM, tags: " spring ,, vip", importId: "3", timezone: "Europe/Rome " };
    expect(leadFilterOf(form)).toEqual({ tags: ["spring", "vip"], import_id: 3, timezone: "Europe/Rome" });
  });

  it("carries numbers as numbers", () => {
    expect(orderOf({ ...EMPTY_FORM, name: " A ", whom: "all", maxAttempts: "5" })).toMatchObject({
      name: "A",
      max_attempts: 5,
    });
  });
});

describe("shares", () => {
  it("count what failed as dealt with, and never exceed the whole", () => {
    expect(percent(task({ done: 3, failed: 1, total: 8 }))).toBe(50);
    expect(percent(task({ done: 9, total: 8 }))).toBe(100);
    expect(percent(task({ total: 0 }))).toBeNull();
  });

  it("of a campaign leave out who is on the phone", () => {
    expect(percentCalled(run({}, { total: 10, active: 2, queued: 3 }).counts)).toBe(50);
    expect(percentCalled(run().counts)).toBeNull();
  });
});

it("a cancelled campaign is settled once nobody is on the phone", () => {
  expect(isSettled(run({ status: "cancelled" }, { active: 1 }))).toBe(false);
  expect(isSettled(run({ status: "cancelled" }))).toBe(true);
});

it("a type of task that the pages do not know has its own name", () => {
  expect(taskTypeName("delete_leads")).toBe("Delete leads");
  expect(taskTypeName("brand_new")).toBe("brand_new");
});
