import type { components } from "./schema";

type Schemas = components["schemas"];

export type Business = Schemas["BusinessOut"];
export type LeadCount = Schemas["LeadCount"];
export type LeadFilter = Schemas["LeadFilter"];
export type Problem = Schemas["Problem"];
export type Run = Schemas["RunView"];
export type RunCounts = Schemas["RunCounts"];
export type RunOrder = Schemas["RunCreate"];
export type RunStatus = Schemas["RunStatus"];
export type Task = Schemas["TaskSnapshot"];
export type TaskStatus = Schemas["JobStatus"];
export type Ticket = Schemas["Ticket"];

export interface Page<Item> {
  items: Item[];
  next_cursor?: string | null;
}
