import { useEffect, useRef, type ReactNode } from "react";

interface PageHeadingProps {
  children: string;
  /** What stands beside it, such as buttons. */
  aside?: ReactNode;
}

/** The page's heading. It names the tab and takes the focus, so that a screen reader says where one has come to. */
export function PageHeading({ children, aside }: PageHeadingProps) {
  const heading = useRef<HTMLHeadingElement>(null);

  useEffect(() => {
    document.title = `${children} · Switchboard`;
  }, [children]);
  useEffect(() => heading.current?.focus({ preventScroll: true }), []);

  return (
    <div className="page-heading">
      <h1 ref={heading} tabIndex={-1}>
        {children}
      </h1>
      {aside}
    </div>
  );
}
