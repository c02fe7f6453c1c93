/**
 * What signed-in clients may call (Bearer JWT or websocket): their own documents, nothing else.
 * Clients cannot write: all writing functions are internal (runtime.ts).
 *
 * A document belongs to the user whose id is the token's `sub`, or to the guest whose scope is the
 * token's claim `guest_scope`, when OPENAGENTS_JWT_ISSUER issued the token. Ids are that issuer's own:
 * the "42" of another auth provider is a different user, who owns nothing here.
 */
import { ConvexError, type Validator, v } from "convex/values";
import { paginationOptsValidator, paginationResultValidator } from "convex/server";
import { query, type QueryCtx } from "./_generated/server.js";
import { open } from "./documents.js";
import { whole } from "./guard.js";
import { CODEX_WORKER_SUMMARY, RUN_SUMMARY, codexWorkerSummary, runSummary } from "./kinds.js";

// The only part of Node's types in use, so that @types/node is not needed.
declare const process: { env: Record<string, string | undefined> };

/** An issuer as Convex compares it with auth.config.ts: with a protocol, without trailing slashes. */
const plain = (issuer: string) => (/^https?:\/\//.test(issuer) ? issuer : `https://${issuer}`).replace(/\/+$/, "");

/** The owner that this caller reads as; null for a caller that can own nothing here. Throws for anonymous callers. */
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

type Document = Validator<any, "required", any>;
const anything: Validator<any, "required", any> = v.any();

/**
 * The query for one document of a kind, or null: a missing document and somebody else's look the same.
 * `document` is its validator (`documentOf`), which also gives callers its type.
 */
export const getOwn = <V extends Document = typeof anything>(kind: string, document: V = anything as V) =>
  query({
    args: { document_id: v.string() },
    returns: v.union(open(document), v.null()),
    handler: async (ctx, { document_id }): Promise<V["type"] | null> => {
      const owner = await reader(ctx);
      if (owner === null) return null;
      const row = await ctx.db
        .query("runtime_projections")
        .withIndex("by_kind_document_id", (q) => q.eq("kind", kind).eq("document_id", document_id))
        .unique();
      return row === null || row.summary === null || row.owner !== owner ? null : whole(row.summary);
    },
  });

/** The query for the reader's own documents of a kind, the last changed first, page by page (usePaginatedQuery). */
export const listOwn = <V extends Document = typeof anything>(kind: string, document: V = anything as V) =>
  query({
    args: { paginationOpts: paginationOptsValidator },
    returns: paginationResultValidator(open(document)),
    handler: async (ctx, { paginationOpts }) => {
      const owner = await reader(ctx);
      if (owner === null) return { page: [], isDone: true, continueCursor: "" };
      const page = await ctx.db
        .query("runtime_projections")
        .withIndex("by_owner_kind_updated", (q) => q.eq("owner", owner).eq("kind", kind))
        .order("desc")
        .paginate(paginationOpts);
      const documents: V["type"][] = await Promise.all(page.page.map((row) => whole(row.summary)));
      return { ...page, page: documents };
    },
  });

export const getRun = getOwn(RUN_SUMMARY, runSummary);
export const listRuns = listOwn(RUN_SUMMARY, runSummary);

export const getCodexWorker = getOwn(CODEX_WORKER_SUMMARY, codexWorkerSummary);
export const listCodexWorkers = listOwn(CODEX_WORKER_SUMMARY, codexWorkerSummary);
