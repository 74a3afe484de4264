import { useEffect, useState } from "react";

import { useApi } from "./session";

/** Whose business this is. Missing, it is missed by nobody: the pages say what is wrong. */
export function BusinessName() {
  const api = useApi();
  const [name, setName] = useState("");

  useEffect(() => {
    const gone = new AbortController();
    api.showBusiness(gone.signal).then(
      (business) => setName(business.name),
      () => undefined,
    );
    return () => gone.abort();
  }, [api]);
  return <span className="business">{name}</span>;
}
