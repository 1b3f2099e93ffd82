import { defineConfig } from "vite";

export default defineConfig({
  build: {
    target: "es2022",
    outDir: "../src/gateway/site",
    emptyOutDir: true,
    // The page's policy allows nothing inline, not even a small picture.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
  },
  // `npx vite` shows changes at once, against a gateway that runs beside it.
  server: { proxy: { "/acme.gateway.v1.SignUpService": "http://127.0.0.1:8080" } },
});
