import { useEffect, useState } from "react";

import { ProblemError } from "../api/problems";
import { STALE_MS } from "../tasks/taskFollower";

/**
 * The problem that a person has to know of: at once when there is nothing to show or waiting does not help, and
 * otherwise only when it lasts, because an api that restarts is back in a moment.
 */
export function useLastingProblem(problem: unknown, somethingIsShown: boolean): unknown {
  const [lasts, setLasts] = useState(false);
  const isThere = problem !== null;

  useEffect(() => {
    if (!isThere) return undefined;
    const timer = setTimeout(() => setLasts(true), STALE_MS);
    return () => {
      clearTimeout(timer);
      setLasts(false);
    };
  }, [isThere]);

  const waitingHelps = !(problem instanceof ProblemError) || problem.temporary;
  return somethingIsShown && waitingHelps && !lasts ? null : problem;
}
