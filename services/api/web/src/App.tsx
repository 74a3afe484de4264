import { useEffect } from "react";

import { CampaignPage } from "./campaigns/CampaignPage";
import { CampaignsPage } from "./campaigns/CampaignsPage";
import { NewCampaignPage } from "./campaigns/NewCampaignPage";
import { PageHeading } from "./parts/PageHeading";
import { Link, navigate, usePathname } from "./router/router";
import { routeOf, type Route } from "./router/routes";
import { BusinessName } from "./session/BusinessName";
import { SignInPage } from "./session/SignInPage";
import { useSession } from "./session/session";
import { TaskPage } from "./tasks/TaskPage";
import { TasksPage } from "./tasks/TasksPage";

export function App() {
  const route = routeOf(usePathname());
  const { api, signOut } = useSession();

  return (
    <>
      <a className="skip" href="#main">
        Skip to the content
      </a>
      <header className="site">
        <Link to="/" className="brand">
          Switchboard
        </Link>
        {api !== null && (
          <>
            <nav aria-label="Pages">
              <Link to="/campaigns" current={route.page === "campaigns"}>
                Campaigns
              </Link>
              <Link to="/tasks" current={route.page === "tasks"}>
                Tasks
              </Link>
            </nav>
            <BusinessName />
            <button type="button" className="quiet" onClick={() => signOut()}>
              Sign out
            </button>
          </>
        )}
      </header>
      <main id="main" tabIndex={-1}>
        {api === null ? <SignInPage /> : <Page route={route} />}
      </main>
    </>
  );
}

function Page({ route }: { route: Route }) {
  switch (route.page) {
    case "home":
    case "sign-in":
      return <Redirect to="/campaigns" />;
    case "tasks":
      return <TasksPage />;
    case "task":
      return <TaskPage key={route.id} taskId={route.id} />;
    case "campaigns":
      return <CampaignsPage />;
    case "new-campaign":
      return <NewCampaignPage />;
    case "campaign":
      return <CampaignPage key={route.id} runId={route.id} />;
    case "unknown":
      return <PageHeading>There is no such page</PageHeading>;
  }
}

function Redirect({ to }: { to: string }) {
  useEffect(() => navigate(to, { replace: true }), [to]);
  return null;
}
