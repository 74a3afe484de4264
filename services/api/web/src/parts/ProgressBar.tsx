interface ProgressBarProps {
  label: string;
  /** Percent; null where nobody knows the whole. */
  value: number | null;
  /** Whether it has ended: then an unknown share is not shown as movement. */
  still?: boolean;
}

export function ProgressBar({ label, value, still = false }: ProgressBarProps) {
  if (value === null && still) return null;
  return (
    <div className="progress">
      {value === null ? (
        <progress aria-label={label} max={100} />
      ) : (
        <>
          <progress aria-label={label} max={100} value={value} />
          <span aria-hidden="true">{value} %</span>
        </>
      )}
    </div>
  );
}
