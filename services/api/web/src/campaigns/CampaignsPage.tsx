import { useCallback } from "react";

import type { Run } from "../api/types";
import { ErrorMessage } from "../parts/ErrorMessage";
import { PageHeading } from "../parts/PageHeading";
import { Pager } from "../parts/Pager";
import { ProgressBar } from "../parts/ProgressBar";
import { StatusBadge } from "../parts/StatusBadge";
import { Timestamp } from "../parts/Timestamp";
import { usePolled } from "../parts/usePolled";
import { Link, useQuery } from "../router/router";
import { useApi } from "../session/session";
import { count } from "../tasks/names";
import { percentCalled } from "./runs";

const REFRESH_MS = 2_000;

export function CampaignsPage() {
  const api = useApi();
  const cursor = useQuery().get("cursor") ?? undefined;
  const load = useCallback((signal: AbortSignal) => api.listRuns(cursor, signal), [api, cursor]);
  const { value: page, problem } = usePolled(load, REFRESH_MS);

  return (
    <>
      <PageHeading
        aside={
          <Link to="/campaigns/new" className="button primary">
            New campaign
          </Link>
        }
      >
        Campaigns
      </PageHeading>
      {problem !== null && <ErrorMessage error={problem} />}
      {page === null && problem === null && <p className="muted">Loading…</p>}
      {page?.items.length === 0 && <p className="empty">No campaign has been started yet.</p>}
      {page !== null && page.items.length > 0 && <RunTable runs={page.items} />}
      {page !== null && (
        <Pager
          first="/campaigns"
          atFirst={cursor === undefined}
          next={page.next_cursor ? `/campaigns?cursor=${encodeURIComponent(page.next_cursor)}` : null}
        />
      )}
    </>
  );
}

function RunTable({ runs }: { runs: Run[] }) {
  return (
    <div className="table" tabIndex={0} role="region" aria-label="Campaigns">
      <table>
        <thead>
          <tr>
            <th scope="col">Campaign</th>
            <th scope="col">State</th>
            <th scope="col">Leads called</th>
            <th scope="col" className="number">
              Active calls
            </th>
            <th scope="col">Created</th>
          </tr>
        </thead>
        <tbody>
          {runs.map((run) => (
            <tr key={run.id}>
              <th scope="row">
                <Link to={`/campaigns/${run.id}`}>{run.name}</Link>
              </th>
              <td>
                <StatusBadge status={run.status} />
              </td>
              <td>
                <ProgressBar label={`Leads called by ${run.name}`} value={percentCalled(run.counts)} still />
              </td>
              <td className="number">{count(run.counts.active)}</td>
              <td>
                <Timestamp at={run.created_at} />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}
