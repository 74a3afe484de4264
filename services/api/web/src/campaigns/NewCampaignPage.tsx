import { useRef, useState, type SubmitEvent } from "react";

import { uniqueValue } from "../api/client";
import { ErrorMessage } from "../parts/ErrorMessage";
import { Field } from "../parts/Field";
import { PageHeading } from "../parts/PageHeading";
import { Link, navigate } from "../router/router";
import { useApi } from "../session/session";
import { LeadPreview } from "./LeadPreview";
import { EMPTY_FORM, orderOf, type CampaignForm } from "./order";

/** The same key for the same order: sent again because the answer was lost, it still starts one campaign. */
function useOrderKey(): (order: unknown) => string {
  const last = useRef({ order: "", key: "" });
  return (order) => {
    const text = JSON.stringify(order);
    if (last.current.order !== text) last.current = { order: text, key: uniqueValue() };
    return last.current.key;
  };
}

export function NewCampaignPage() {
  const api = useApi();
  const keyOf = useOrderKey();
  const [form, setForm] = useState(EMPTY_FORM);
  const [asking, setAsking] = useState(false);
  const [problem, setProblem] = useState<unknown>(null);

  function set<Name extends keyof CampaignForm>(name: Name, value: CampaignForm[Name]) {
    setForm((before) => ({ ...before, [name]: value }));
  }

  async function submit(event: SubmitEvent) {
    event.preventDefault();
    setAsking(true);
    setProblem(null);
    try {
      const order = orderOf(form);
      const run = await api.startRun(order, keyOf(order));
      navigate(`/campaigns/${run.id}`);
    } catch (error) {
      setProblem(error);
      setAsking(false);
    }
  }

  return (
    <>
      <p className="back">
        <Link to="/campaigns">All campaigns</Link>
      </p>
      <PageHeading>New campaign</PageHeading>
      <form className="card wide" onSubmit={(event) => void submit(event)}>
        <Field label="Name">
          {(id) => (
            <input
              id={id}
              required
              maxLength={200}
              value={form.name}
              onChange={(event) => set("name", event.target.value)}
            />
          )}
        </Field>
        <Field label="Message" hint="Spoken to who answers. {name} is the lead's name.">
          {(id, hint) => (
            <textarea
              id={id}
              aria-describedby={hint}
              required
              maxLength={3000}
              rows={4}
              value={form.message}
              onChange={(event) => set("message", event.target.value)}
            />
          )}
        </Field>
        <Whom form={form} set={set} />
        <details>
          <summary>More settings</summary>
          <Settings form={form} set={set} />
        </details>
        {problem !== null && <ErrorMessage error={problem} />}
        <button type="submit" className="primary" disabled={asking}>
          {asking ? "Starting…" : "Start calling"}
        </button>
      </form>
    </>
  );
}

interface PartProps {
  form: CampaignForm;
  set: <Name extends keyof CampaignForm>(name: Name, value: CampaignForm[Name]) => void;
}

function Whom({ form, set }: PartProps) {
  return (
    <fieldset>
      <legend>Whom to call</legend>
      <label className="choice">
        <input type="radio" name="whom" checked={form.whom === "some"} onChange={() => set("whom", "some")} />
        Leads that meet all of these
      </label>
      {form.whom === "some" && (
        <div className="indented">
          <Field label="Tags" hint="Separated by commas; one of them is enough.">
            {(id, hint) => (
              <input
                id={id}
                aria-describedby={hint}
                value={form.tags}
                onChange={(event) => set("tags", event.target.value)}
              />
            )}
          </Field>
          <Field label="Import" hint="Its number.">
            {(id, hint) => (
              <input
                id={id}
                aria-describedby={hint}
                type="number"
                min={1}
                value={form.importId}
                onChange={(event) => set("importId", event.target.value)}
              />
            )}
          </Field>
          <Field label="Time zone" hint="Such as America/New_York.">
            {(id, hint) => (
              <input
                id={id}
                aria-describedby={hint}
                value={form.timezone}
                onChange={(event) => set("timezone", event.target.value)}
              />
            )}
          </Field>
        </div>
      )}
      <label className="choice">
        <input type="radio" name="whom" checked={form.whom === "all"} onChange={() => set("whom", "all")} />
        Every lead
      </label>
      <LeadPreview form={form} />
    </fieldset>
  );
}

function Settings({ form, set }: PartProps) {
  return (
    <>
      <Field label="Answering machines">
        {(id) => (
          <select
            id={id}
            value={form.machineDetection}
            onChange={(event) => set("machineDetection", event.target.value as CampaignForm["machineDetection"])}
          >
            <option value="off">Treat them like people</option>
            <option value="detect">Note them</option>
            <option value="hangup">Hang up on them</option>
          </select>
        )}
      </Field>
      <Field label="Calls to one lead at most">
        {(id) => (
          <input
            id={id}
            type="number"
            required
            min={1}
            max={20}
            value={form.maxAttempts}
            onChange={(event) => set("maxAttempts", event.target.value)}
          />
        )}
      </Field>
      <label className="choice">
        <input type="checkbox" checked={form.record} onChange={(event) => set("record", event.target.checked)} />
        Record the calls
      </label>
    </>
  );
}
