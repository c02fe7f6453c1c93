/**
 * What signed-in clients may call (Bearer JWT or websocket): their own documents, nothing else.
 * Nobody can write: all writing functions are internal (runtime.ts).
 *
 * A document belongs to the user whose id is the token's `sub`, or to the guest whose scope is the
 * token's claim `guest_scope`.
 */
import { ConvexError, v } from "convex/values";
import { paginationOptsValidator } from "convex/server";
import { query, type QueryCtx } from "./_generated/server.js";

const RUN = "run_summary";
const CODEX_WORKER = "codex_worker_summary";

/** The owner this caller reads as; throws for anonymous callers. */
async function reader(ctx: QueryCtx): Promise<string> {
  const identity = await ctx.auth.getUserIdentity();
  if (identity === null) throw new ConvexError({ code: "UNAUTHENTICATED", message: "sign in first" });
  const scope = identity.guest_scope;
  return typeof scope === "string" && scope !== "" ? `guest:${scope}` : `user:${identity.subject}`;
}

/** The document, or null: one that is not there and one that is somebody else's look alike. */
async function getOwn(ctx: QueryCtx, kind: string, document_id: string) {
  const owner = await reader(ctx);
  const row = await ctx.db
    .query("runtime_projections")
    .withIndex("by_kind_document_id", (q) => q.eq("kind", kind).eq("document_id", document_id))
    .unique();
  return row === null || row.summary === null || row.owner !== owner ? null : row.summary;
}

async function listOwn(ctx: QueryCtx, kind: string, paginationOpts: any) {
  const owner = await reader(ctx);
  const page = await ctx.db
    .query("runtime_projections")
    .withIndex("by_owner_kind", (q) => q.eq("owner", owner).eq("kind", kind))
    .order("desc")
    .paginate(paginationOpts);
  return { ...page, page: page.page.map((row) => row.summary) };
}

export const getRun = query({
  args: { document_id: v.string() },
  handler: (ctx, { document_id }) => getOwn(ctx, RUN, document_id),
});

export const getCodexWorker = query({
  args: { document_id: v.string() },
  handler: (ctx, { document_id }) => getOwn(ctx, CODEX_WORKER, document_id),
});

/** Own runs, the newest first, page by page (usePaginatedQuery). */
export const listRuns = query({
  args: { paginationOpts: paginationOptsValidator },
  handler: (ctx, { paginationOpts }) => listOwn(ctx, RUN, paginationOpts),
});

export const listCodexWorkers = query({
  args: { paginationOpts: paginationOptsValidator },
  handler: (ctx, { paginationOpts }) => listOwn(ctx, CODEX_WORKER, paginationOpts),
});
