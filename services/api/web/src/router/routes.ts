/**
 * Every page's path. The api serves the application at these and nowhere else (`switchboard_api/web.py`); a test
 * compares the two lists.
 */
export const PATHS = [
  "/",
  "/sign-in",
  "/tasks",
  "/tasks/{id}",
  "/campaigns",
  "/campaigns/new",
  "/campaigns/{id}",
] as const;

export type Route =
  | { page: "home" | "sign-in" | "tasks" | "campaigns" | "new-campaign" | "unknown" }
  | { page: "task" | "campaign"; id: number };

const PAGES = {
  "/": "home",
  "/sign-in": "sign-in",
  "/tasks": "tasks",
  "/campaigns": "campaigns",
  "/campaigns/new": "new-campaign",
} as const;

export function routeOf(pathname: string): Route {
  if (pathname in PAGES) return { page: PAGES[pathname as keyof typeof PAGES] };
  const [, kind, id] = /^\/(tasks|campaigns)\/([1-9]\d{0,15})$/.exec(pathname) ?? [];
  if (kind === undefined || id === undefined) return { page: "unknown" };
  return { page: kind === "tasks" ? "task" : "campaign", id: Number(id) };
}
