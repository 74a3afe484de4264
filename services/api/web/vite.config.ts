import react from "@vitejs/plugin-react";
import { defineConfig } from "vitest/config";

// Where `npm run dev` finds an api: `switchboard demo --keep` says its address.
const api = process.env.SWITCHBOARD_URL ?? "http://127.0.0.1:8000";

export default defineConfig({
  plugins: [react()],
  build: {
    // Into the api's package: wheels and images have it from there.
    outDir: "../src/switchboard_api/web_dist",
    emptyOutDir: true,
    // The policy of the pages allows no data: URL.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  server: { proxy: { "/api": api, "/ws": { target: api, ws: true } } },
  test: {
    environment: "jsdom",
    setupFiles: ["src/test/setup.ts"],
    include: ["src/**/*.test.{ts,tsx}"],
    // One page for all files of a process: starting jsdom costs more than the tests.
    isolate: false,
    testTimeout: 60_000,
    restoreMocks: true,
    unstubGlobals: true,
  },
});
