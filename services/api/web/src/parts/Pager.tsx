import { Link } from "../router/router";

interface PagerProps {
  /** Address of the first page. */
  first: string;
  atFirst: boolean;
  /** Address of the page behind this one; null where there is none. */
  next: string | null;
}

/** Newest first, so one goes back in time. */
export function Pager({ first, atFirst, next }: PagerProps) {
  if (atFirst && !next) return null;
  return (
    <nav className="pager" aria-label="Older and newer">
      {!atFirst && <Link to={first}>Newest</Link>}
      {next && <Link to={next}>Older</Link>}
    </nav>
  );
}
