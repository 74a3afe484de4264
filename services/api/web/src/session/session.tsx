import { createContext, useCallback, useContext, useEffect, useMemo, useState, type ReactNode } from "react";

import { Api } from "../api/client";

const STORED_AS = "switchboard.key";

export interface Session {
  /** For the key of who signed in; null: nobody is. */
  api: Api | null;
  /** Why somebody who was signed in is not any more. */
  endedBecause: string | null;
  signIn: (key: string) => void;
  signOut: (because?: string) => void;
}

const SessionContext = createContext<Session | null>(null);

/** Keeps the key in this tab's sessionStorage and nowhere else: it is gone with the tab. */
export function SessionProvider({ children }: { children: ReactNode }) {
  const [key, setKey] = useState(() => sessionStorage.getItem(STORED_AS));
  const [endedBecause, setEndedBecause] = useState<string | null>(null);

  useEffect(() => {
    if (key === null) sessionStorage.removeItem(STORED_AS);
    else sessionStorage.setItem(STORED_AS, key);
  }, [key]);

  const signIn = useCallback((next: string) => {
    setEndedBecause(null);
    setKey(next);
  }, []);
  const signOut = useCallback((because?: string) => {
    setEndedBecause(because ?? null);
    setKey(null);
  }, []);
  const session = useMemo(() => {
    const refused = () => signOut("Your API key is not accepted any more: it was revoked or has expired.");
    return { api: key === null ? null : new Api(key, refused), endedBecause, signIn, signOut };
  }, [key, endedBecause, signIn, signOut]);
  return <SessionContext value={session}>{children}</SessionContext>;
}

export function useSession(): Session {
  const session = useContext(SessionContext);
  if (session === null) throw new Error("useSession needs a SessionProvider around it");
  return session;
}

/** The api of who signed in; only below pages that need a session. */
export function useApi(): Api {
  const { api } = useSession();
  if (api === null) throw new Error("useApi needs somebody who is signed in");
  return api;
}
