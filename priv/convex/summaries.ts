/**
 * What signed-in clients may call (Bearer JWT or websocket): their own documents, nothing else.
 * Nobody can write: all writing functions are internal (runtime.ts).
 *
 * A document belongs to the user whose id is the token's `sub`, or to the guest whose scope is the
 * token's claim `guest_scope`, when OPENAGENTS_JWT_ISSUER issued the token. Ids are that issuer's own:
 * the "42" of a second auth provider is somebody else, who owns nothing here.
 */
import { ConvexError, v } from "convex/values";
import { paginationOptsValidator } from "convex/server";
import { query, type QueryCtx } from "./_generated/server.js";
import { whole } from "./guard.js";
import { CODEX_WORKER_SUMMARY, RUN_SUMMARY } from "./kinds.js";

// All that is used of Node's types, so that @types/node is not needed.
declare const process: { env: Record<string, string | undefined> };

/** An issuer as Convex compares it with auth.config.ts: with a protocol, without slashes at the end. */
const plain = (issuer: string) => (/^https?:\/\//.test(issuer) ? issuer : `https://${issuer}`).replace(/\/+$/, "");

/** The owner this caller reads as; null for one who can own nothing here. Throws for anonymous callers. */
async function reader(ctx: QueryCtx): Promise<string | null> {
  const identity = await ctx.auth.getUserIdentity();
  if (identity === null) throw new ConvexError({ code: "UNAUTHENTICATED", message: "sign in first" });
  const own = process.env.OPENAGENTS_JWT_ISSUER;
  if (own === undefined || own === "") {
    const message = "OPENAGENTS_JWT_ISSUER is not set in this deployment: `npx convex env set OPENAGENTS_JWT_ISSUER https://...`";
    throw new ConvexError({ code: "NO_ISSUER", message });
  }
  if (typeof identity.issuer !== "string" || plain(identity.issuer) !== plain(own)) return null;
  const scope = identity.guest_scope;
  if (typeof scope === "string" && scope !== "") return `guest:${scope}`;
  return identity.subject ? `user:${identity.subject}` : null;
}

/** The query of one document of a kind, or null: one that is not there and one that is somebody else's look alike. */
export const getOwn = (kind: string) =>
  query({
    args: { document_id: v.string() },
    handler: async (ctx, { document_id }) => {
      const owner = await reader(ctx);
      if (owner === null) return null;
      const row = await ctx.db
        .query("runtime_projections")
        .withIndex("by_kind_document_id", (q) => q.eq("kind", kind).eq("document_id", document_id))
        .unique();
      return row === null || row.summary === null || row.owner !== owner ? null : whole(row.summary);
    },
  });

/** The query of the reader's own documents of a kind, the last changed first, page by page (usePaginatedQuery). */
export const listOwn = (kind: string) =>
  query({
    args: { paginationOpts: paginationOptsValidator },
    handler: async (ctx, { paginationOpts }) => {
      const owner = await reader(ctx);
      if (owner === null) return { page: [], isDone: true, continueCursor: "" };
      const page = await ctx.db
        .query("runtime_projections")
        .withIndex("by_owner_kind_updated", (q) => q.eq("owner", owner).eq("kind", kind))
        .order("desc")
        .paginate(paginationOpts);
      return { ...page, page: await Promise.all(page.page.map((row) => whole(row.summary))) };
    },
  });

export const getRun = getOwn(RUN_SUMMARY);
export const listRuns = listOwn(RUN_SUMMARY);

export const getCodexWorker = getOwn(CODEX_WORKER_SUMMARY);
export const listCodexWorkers = listOwn(CODEX_WORKER_SUMMARY);
