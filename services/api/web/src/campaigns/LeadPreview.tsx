import { useEffect, useState } from "react";

import { isAbort } from "../api/problems";
import type { LeadCount, LeadFilter } from "../api/types";
import { useApi } from "../session/session";
import { leadFilterOf, type CampaignForm } from "./order";

/** Milliseconds without a change after which is counted. */
const PAUSE_MS = 400;

/** How many leads are meant, before anybody is called. */
export function LeadPreview({ form }: { form: CampaignForm }) {
  const api = useApi();
  const filter = filterText(form);
  const [found, setFound] = useState({ filter: "", sentence: "" });

  useEffect(() => {
    if (filter === "") return;
    const gone = new AbortController();
    async function count() {
      try {
        const counted = await api.countLeads(JSON.parse(filter) as LeadFilter, gone.signal);
        setFound({ filter, sentence: sentenceOf(counted) });
      } catch (error) {
        if (!isAbort(error)) setFound({ filter, sentence: `Not counted: ${(error as Error).message}` });
      }
    }
    const timer = setTimeout(() => void count(), PAUSE_MS);
    return () => {
      clearTimeout(timer);
      gone.abort();
    };
  }, [api, filter]);

  return (
    <p role="status" className="muted">
      {filter !== "" && found.filter === filter && found.sentence}
    </p>
  );
}

/** The filter as text, which is equal when it means the same; empty while nobody is meant. */
function filterText(form: CampaignForm): string {
  try {
    return JSON.stringify(leadFilterOf(form));
  } catch {
    return "";
  }
}

function sentenceOf({ count, examples }: LeadCount): string {
  if (count === 0) return "No lead meets that.";
  const names = examples.map((lead) => lead.name).filter(Boolean);
  const meant = count === 1 ? "1 lead is meant" : `${count.toLocaleString("en")} leads are meant`;
  const such =
    names.length > 0 ? `: ${names.slice(0, 3).join(", ")}${count > names.slice(0, 3).length ? ", …" : ""}` : "";
  return `${meant}${such}. Who is on the do-not-call list is not called.`;
}
