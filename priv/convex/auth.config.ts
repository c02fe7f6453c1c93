import type { AuthConfig } from "convex/server";

// The only part of Node's types in use, so that @types/node is not needed.
declare const process: { env: Record<string, string | undefined> };

/**
 * The issuer whose tokens are accepted: OpenAgents' own (Laravel mints short-lived JWTs at
 * /api/convex/token; docs/TOKENS.md says how). Set these once for each deployment:
 *
 *   npm run convex -- env set OPENAGENTS_JWT_ISSUER   https://openagents.example
 *   npm run convex -- env set OPENAGENTS_JWT_AUDIENCE openagents-convex
 *   npm run convex -- env set OPENAGENTS_JWKS         https://openagents.example/.well-known/jwks.json
 *
 * `applicationID` must be in the token's `aud`; leaving it out would let any audience pass
 * (crates/authentication/src/lib.rs). The issuer is compared without trailing slashes; the JWKS
 * may also be a data: URI. Users of other providers added here can sign in too, but own no projections:
 * summaries.ts recognizes its readers by OPENAGENTS_JWT_ISSUER.
 */
export default {
  providers: [
    {
      type: "customJwt",
      applicationID: process.env.OPENAGENTS_JWT_AUDIENCE!,
      issuer: process.env.OPENAGENTS_JWT_ISSUER!,
      jwks: process.env.OPENAGENTS_JWKS!,
      algorithm: "RS256",
    },
  ],
} satisfies AuthConfig;
