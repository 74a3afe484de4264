import { useId, useState, type SubmitEvent } from "react";

import { Api } from "../api/client";
import { ErrorMessage } from "../parts/ErrorMessage";
import { PageHeading } from "../parts/PageHeading";
import { useSession } from "./session";

export function SignInPage() {
  const { signIn, endedBecause } = useSession();
  const [key, setKey] = useState("");
  const [checking, setChecking] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);
  const field = useId();
  const hint = useId();

  async function submit(event: SubmitEvent) {
    event.preventDefault();
    setChecking(true);
    setProblem(null);
    try {
      await new Api(key.trim()).showBusiness();
      signIn(key.trim());
    } catch (error) {
      setProblem(error);
      setChecking(false);
    }
  }

  return (
    <div className="narrow">
      <PageHeading>Sign in</PageHeading>
      {endedBecause !== null && <p className="notice">{endedBecause}</p>}
      <form className="card" onSubmit={(event) => void submit(event)}>
        <label htmlFor={field}>API key</label>
        <input
          id={field}
          type="password"
          required
          autoComplete="off"
          spellCheck={false}
          aria-describedby={hint}
          value={key}
          onChange={(event) => setKey(event.target.value)}
        />
        <p id={hint} className="muted">
          It begins with <code>sbk_</code>. It stays in this tab and is forgotten when you close it.
        </p>
        {problem !== null && <ErrorMessage error={problem} />}
        <button type="submit" className="primary" disabled={checking}>
          {checking ? "Checking…" : "Sign in"}
        </button>
      </form>
    </div>
  );
}
