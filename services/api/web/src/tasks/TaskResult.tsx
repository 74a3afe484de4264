import type { Task } from "../api/types";
import { count, words } from "./names";

type Entry = [name: string, value: string];

/** What a task says of itself at its end: plain values, and those one level below. */
export function TaskResult({ result }: { result: Task["result"] }) {
  const entries = result ? plainEntries(result) : [];
  if (entries.length === 0) return null;
  return (
    <dl className="facts">
      {entries.map(([name, value]) => (
        <div key={name}>
          <dt>{words(name)}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function plainEntries(result: Record<string, unknown>, deeper = true): Entry[] {
  return Object.entries(result).flatMap(([name, value]): Entry[] => {
    if (typeof value === "number") return [[name, count(value)]];
    if (typeof value === "string" || typeof value === "boolean") return [[name, String(value)]];
    if (deeper && typeof value === "object" && value !== null && !Array.isArray(value)) {
      return plainEntries(value as Record<string, unknown>, false).map(([inner, text]) => [`${name}: ${inner}`, text]);
    }
    return [];
  });
}
