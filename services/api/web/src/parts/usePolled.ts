import { useCallback, useEffect, useState } from "react";

import { ProblemError, isAbort } from "../api/problems";
import { useLastingProblem } from "./useLastingProblem";

export interface Polled<Value> {
  value: Value | null;
  /** What a person has to know; an api that restarts is back before that. */
  problem: unknown;
  /** Asks at once. */
  refresh: () => void;
  /** Shows this until the next answer, as after a change whose answer is the new state. */
  show: (value: Value) => void;
}

/**
 * Loads something again and again.
 *
 * @param load has to be stable (`useCallback`): another one starts afresh.
 * @param everyMs milliseconds from an answer to the next request.
 * @param isFinal whether nothing can follow; then it is not asked again.
 */
export function usePolled<Value>(
  load: (signal: AbortSignal) => Promise<Value>,
  everyMs: number,
  isFinal: (value: Value) => boolean = never,
): Polled<Value> {
  const [value, setValue] = useState<Value | null>(null);
  const [problem, setProblem] = useState<unknown>(null);
  const [round, setRound] = useState(0);

  useEffect(() => {
    const gone = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;

    async function ask() {
      try {
        const found = await load(gone.signal);
        if (gone.signal.aborted) return;
        setValue(found);
        setProblem(null);
        if (isFinal(found)) return;
      } catch (error) {
        if (gone.signal.aborted || isAbort(error)) return;
        setProblem(error);
        if (error instanceof ProblemError && !error.temporary) return;
      }
      timer = setTimeout(() => void ask(), everyMs);
    }

    void ask();
    return () => {
      gone.abort();
      clearTimeout(timer);
    };
  }, [load, everyMs, isFinal, round]);

  const refresh = useCallback(() => setRound((before) => before + 1), []);
  return { value, problem: useLastingProblem(problem, value !== null), refresh, show: setValue };
}

function never(): boolean {
  return false;
}
