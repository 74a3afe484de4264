import { ProblemError, sentenceOf } from "../api/problems";

/** What went wrong and what to do, announced at once. */
export function ErrorMessage({ error }: { error: unknown }) {
  return (
    <div className="error" role="alert">
      {error instanceof ProblemError && <strong>{error.title}. </strong>}
      {sentenceOf(error)}
    </div>
  );
}
