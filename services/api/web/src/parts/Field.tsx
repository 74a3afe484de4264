import { useId, type ReactNode } from "react";

interface FieldProps {
  label: string;
  hint?: string;
  /** Makes the control from its id and the id of its hint. */
  children: (id: string, hint: string) => ReactNode;
}

/** A control with its label and, below it, a hint. */
export function Field({ label, hint, children }: FieldProps) {
  const id = useId();
  const hintId = useId();
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      {children(id, hintId)}
      {hint !== undefined && (
        <p id={hintId} className="muted">
          {hint}
        </p>
      )}
    </div>
  );
}
