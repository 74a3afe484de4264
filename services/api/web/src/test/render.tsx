import { render } from "@testing-library/react";
import type { ReactNode } from "react";

import { App } from "../App";
import { SessionProvider } from "../session/session";

/** Shows a part of the application to somebody who is signed in. */
export function renderSignedIn(part: ReactNode) {
  sessionStorage.setItem("switchboard.key", "sbk_test");
  return render(<SessionProvider>{part}</SessionProvider>);
}

/** Shows the whole application at a path. */
export function renderApp(path: string, options: { signedIn: boolean }) {
  history.replaceState(null, "", path);
  if (options.signedIn) sessionStorage.setItem("switchboard.key", "sbk_test");
  return render(
    <SessionProvider>
      <App />
    </SessionProvider>,
  );
}
