import type { LeadFilter, RunOrder } from "../api/types";

/** What the form holds, as typed. */
export interface CampaignForm {
  name: string;
  message: string;
  whom: "all" | "some";
  tags: string;
  importId: string;
  timezone: string;
  machineDetection: "off" | "detect" | "hangup";
  maxAttempts: string;
  record: boolean;
}

export const EMPTY_FORM: CampaignForm = {
  name: "",
  message: "",
  whom: "some",
  tags: "",
  importId: "",
  timezone: "",
  machineDetection: "off",
  maxAttempts: "3",
  record: true,
};

/** The form is not an order yet; the message says what to do. */
export class FormError extends Error {
  override readonly name = "FormError";
}

/** @throws FormError when no lead is meant. */
export function leadFilterOf(form: CampaignForm): LeadFilter {
  if (form.whom === "all") return { all: true };
  const tags = form.tags
    .split(",")
    .map((tag) => tag.trim())
    .filter(Boolean);
  const timezone = form.timezone.trim();
  const filter: LeadFilter = {
    ...(tags.length > 0 && { tags }),
    ...(form.importId !== "" && { import_id: Number(form.importId) }),
    ...(timezone !== "" && { timezone }),
  };
  if (Object.keys(filter).length === 0) {
    throw new FormError("Say whom to call: a tag, an import or a time zone, or choose every lead.");
  }
  return filter;
}

/** @throws FormError when no lead is meant. */
export function orderOf(form: CampaignForm): RunOrder {
  return {
    name: form.name.trim(),
    message: form.message.trim(),
    leads: leadFilterOf(form),
    machine_detection: form.machineDetection,
    max_attempts: Number(form.maxAttempts),
    record: form.record,
  };
}
