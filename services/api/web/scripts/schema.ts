/**
 * Writes src/api/schema.ts: the types of the operations that the pages use, from the api's OpenAPI document.
 *
 * Only those operations, so that a route for somebody else changes nothing here. `--check` compares instead of writing.
 */
import { readFileSync, writeFileSync } from "node:fs";
import { URL, fileURLToPath } from "node:url";
import openapiTS, { astToString, type OpenAPI3 } from "openapi-typescript";

const DOCUMENT = new URL("../../../../docs/openapi.json", import.meta.url);
const TARGET = fileURLToPath(new URL("../src/api/schema.ts", import.meta.url));

const USED = [
  "GET /api/business",
  "POST /api/leads/count",
  "GET /api/tasks",
  "GET /api/tasks/{task_id}",
  "POST /api/tasks/{task_id}/cancel",
  "POST /api/tasks/{task_id}/ticket",
  "GET /api/outbound_calls/runs",
  "POST /api/outbound_calls/runs",
  "GET /api/outbound_calls/runs/{run_id}",
  "POST /api/outbound_calls/runs/{run_id}/pause",
  "POST /api/outbound_calls/runs/{run_id}/resume",
  "POST /api/outbound_calls/jobs/{job_id}/cancel",
  "POST /api/outbound_calls/jobs/{job_id}/force-cancel",
];

type Json = null | boolean | number | string | Json[] | { [name: string]: Json };
type Members = Record<string, Json>;

const isMembers = (value: Json | undefined): value is Members =>
  typeof value === "object" && value !== null && !Array.isArray(value);

function member(value: Json | undefined, ...names: string[]): Json | undefined {
  return names.reduce<Json | undefined>((found, name) => (isMembers(found) ? found[name] : undefined), value);
}

/** Texts for people, and errors other than by their one shape, are left out: the types are the same without. */
function bare(value: Json, inProperties = false): Json {
  if (Array.isArray(value)) return value.map((item) => bare(item));
  if (!isMembers(value)) return value;
  const kept = Object.entries(value).filter(
    ([name]) =>
      inProperties || !["description", "title", "example", "examples", "summary", "operationId"].includes(name),
  );
  return Object.fromEntries(kept.map(([name, inner]) => [name, bare(inner, name === "properties")]));
}

function operation(document: Json, used: string): Members {
  const [method = "", path = ""] = used.split(" ");
  const found = member(document, "paths", path, method.toLowerCase());
  if (!isMembers(found)) throw new Error(`docs/openapi.json has no ${used}: the pages use it.`);
  const answers = isMembers(found.responses) ? Object.entries(found.responses) : [];
  return { ...found, responses: Object.fromEntries(answers.filter(([status]) => status.startsWith("2"))) };
}

function references(value: Json): string[] {
  if (Array.isArray(value)) return value.flatMap(references);
  if (!isMembers(value)) return [];
  return Object.entries(value).flatMap(([name, inner]) =>
    name === "$ref" && typeof inner === "string" ? [inner.slice(inner.lastIndexOf("/") + 1)] : references(inner),
  );
}

function usedParts(document: Json): Members {
  const paths: Record<string, Members> = {};
  for (const used of USED) {
    const [method = "", path = ""] = used.split(" ");
    paths[path] = { ...paths[path], [method.toLowerCase()]: operation(document, used) };
  }
  const schemas: Members = {};
  const wanted = ["Problem", ...references(paths)];
  for (let name = wanted.pop(); name !== undefined; name = wanted.pop()) {
    const schema = member(document, "components", "schemas", name);
    if (name in schemas || schema === undefined) continue;
    schemas[name] = schema;
    wanted.push(...references(schema));
  }
  return { openapi: "3.1.0", info: { title: "used", version: "1" }, paths, components: { schemas } };
}

const document = JSON.parse(readFileSync(DOCUMENT, "utf8")) as Json;
const ast = await openapiTS(bare(usedParts(document)) as unknown as OpenAPI3, {
  alphabetize: true,
  defaultNonNullable: false,
});
const text = `// Generated from docs/openapi.json: \`make generated\` writes it.\n\n${astToString(ast)}`;
if (!process.argv.includes("--check")) {
  writeFileSync(TARGET, text);
} else if (readFileSync(TARGET, "utf8") !== text) {
  console.error("services/api/web/src/api/schema.ts does not fit docs/openapi.json: run `make generated`.");
  process.exit(1);
}
