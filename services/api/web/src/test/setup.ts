import "@testing-library/jest-dom/vitest";
import { cleanup, configure } from "@testing-library/react";
import { afterEach, beforeEach, expect, vi } from "vitest";

// Long enough for a machine that is busy with other things; a test that passes never waits for it.
configure({ asyncUtilTimeout: 15_000 });

let said: unknown[][] = [];

// A test that expects a warning replaces this with a spy of its own.
beforeEach(() => {
  said = [];
  vi.spyOn(console, "warn").mockImplementation((...words) => void said.push(words));
  vi.spyOn(console, "error").mockImplementation((...words) => void said.push(words));
});

afterEach(() => {
  cleanup();
  vi.useRealTimers();
  sessionStorage.clear();
  history.replaceState(null, "", "/");
  expect(said).toEqual([]);
});

// jsdom has no modal dialogs and no URLs for blobs.
HTMLDialogElement.prototype.showModal = function showModal(this: HTMLDialogElement) {
  this.open = true;
};
HTMLDialogElement.prototype.close = function close(this: HTMLDialogElement) {
  this.open = false;
};
URL.createObjectURL = () => "blob:test";
URL.revokeObjectURL = () => undefined;
