import { useState, type ReactNode } from "react";

import { useApi } from "../session/session";
import { ErrorMessage } from "./ErrorMessage";

interface DownloadButtonProps {
  path: string;
  filename: string;
  children: ReactNode;
}

/** Saves a file of the api. A link cannot: it sends no key. */
export function DownloadButton({ path, filename, children }: DownloadButtonProps) {
  const api = useApi();
  const [problem, setProblem] = useState<unknown>(null);

  async function download() {
    setProblem(null);
    try {
      save(await api.download(path), filename);
    } catch (error) {
      setProblem(error);
    }
  }

  return (
    <>
      <button type="button" className="quiet" onClick={() => void download()}>
        {children}
      </button>
      {problem !== null && <ErrorMessage error={problem} />}
    </>
  );
}

function save(content: Blob, filename: string) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(content);
  link.download = filename;
  link.click();
  URL.revokeObjectURL(link.href);
}
