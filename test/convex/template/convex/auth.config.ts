import type { AuthConfig } from "convex/server";
import projections from "convex-sidecar-functions/auth";

export default {
  providers: [...projections.providers, { domain: "https://users.example", applicationID: "convex" }],
} satisfies AuthConfig;
