const FORMAT = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "short" });

/** A moment in the reader's own time zone. */
export function Timestamp({ at }: { at: string | null | undefined }) {
  if (at === null || at === undefined) return <span aria-label="not yet">–</span>;
  return <time dateTime={at}>{FORMAT.format(new Date(at))}</time>;
}
