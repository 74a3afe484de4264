import { useId, type RefObject } from "react";

interface CancelDialogProps {
  ref: RefObject<HTMLDialogElement | null>;
  /** Calls that live right now. */
  active: number;
  onChoose: (hangUp: boolean) => void;
}

/** Asks how a campaign is to be cancelled; Escape and the first button leave it as it is. */
export function CancelDialog({ ref, active, onChoose }: CancelDialogProps) {
  const heading = useId();
  const live = active === 1 ? "1 call is live" : `${active} calls are live`;
  return (
    <dialog ref={ref} aria-labelledby={heading}>
      <h2 id={heading}>Cancel this campaign?</h2>
      <p>No further call will be placed, for good. Right now {active === 0 ? "nobody is on the phone" : live}.</p>
      <div className="choices">
        <button type="button" onClick={() => ref.current?.close()}>
          Keep calling
        </button>
        <button type="button" className="danger" onClick={() => onChoose(false)}>
          Cancel, let live calls end
        </button>
        <button type="button" className="danger" onClick={() => onChoose(true)}>
          Cancel and hang up now
        </button>
      </div>
    </dialog>
  );
}
