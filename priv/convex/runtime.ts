/**
 * The functions that the sidecar calls, version 2: guarded writes, and the audit. All are internal:
 * reachable over HTTP only with `Authorization: Convex <admin key>`; to everybody else they do not
 * exist. What signed-in clients may call is in summaries.ts; the guard itself is in guard.ts.
 */
import { ConvexError, getDocumentSize, v } from "convex/values";
import type { Doc } from "./_generated/dataModel.js";
import { internalMutation, internalQuery, type MutationCtx } from "./_generated/server.js";
import { paginationOptsValidator } from "convex/server";
import { canonicalHash } from "./canonical.js";
import * as guard from "./guard.js";
import { CODEX_WORKER_SUMMARY, RUN_SUMMARY } from "./kinds.js";

const FUNCTIONS = 2;

/** What one call may read; the caller continues where it stopped. */
const PAGE_ROWS = 1000;
const PAGE_BYTES = 2 << 20;

// ------------------------------------------------------------------------------- identity --------

const raise = v.object({ from: v.union(v.number(), v.null()), to: v.number() });
const mark = v.union(v.number(), v.null());

/**
 * The version of these functions, the deployment's id, and the mark of the store that asks
 * (docs/adr/0011). The first store to ask names the deployment; `raise` is a compare-and-set.
 */
export const attach = internalMutation({
  args: { store: v.string(), propose: v.string(), raise: v.optional(raise) },
  returns: v.object({ functions: v.number(), deployment: v.string(), controls: v.array(v.string()), mark }),
  handler: async (ctx, args) => ({
    functions: FUNCTIONS,
    deployment: await guard.nameDeployment(ctx, args.propose),
    // The mutations that take `control: true`.
    controls: ["runtime:upsertRunSummary", "runtime:upsertCodexWorkerSummary"],
    mark: await guard.markOf(ctx, args.store, args.raise),
  }),
});

// A caller that numbers its calls gets the number back, and which deployment answered; for other callers
// the answer is that of version 1.
const callFields = { call: v.optional(v.number()), store: v.optional(v.string()) };
const echoFields = {
  functions: v.optional(v.number()),
  call: v.optional(v.number()),
  deployment: v.optional(v.string()),
  mark: v.optional(mark),
};

type Call = { call?: number; store?: string; raise?: guard.Raise };

async function echo(ctx: MutationCtx, { call, store, raise }: Call) {
  if (call === undefined) return {};
  const mark = store === undefined ? null : await guard.markOf(ctx, store, raise);
  return { functions: FUNCTIONS, call, deployment: await guard.deploymentOf(ctx), mark };
}

// ------------------------------------------------------------------------------------ writes ----

/**
 * The mutation of one document of a kind, which the sidecar calls where sink.batch_mutation is "".
 * With `control` it writes a row that shows whether such a document would be accepted.
 */
export const upsertOne = (kind: string) =>
  internalMutation({
    args: { ...guard.itemFields, ...callFields, control: v.optional(v.literal(true)) },
    returns: v.object({ ...guard.outcomeFields, ...echoFields }),
    handler: async (ctx, { call, store, control, ...item }) => ({
      ...(await guard.apply(ctx, control ? guard.CONTROL : kind, item)),
      ...(await echo(ctx, { call, store })),
    }),
  });

export const upsertRunSummary = upsertOne(RUN_SUMMARY);
export const upsertCodexWorkerSummary = upsertOne(CODEX_WORKER_SUMMARY);

type Result = guard.Outcome | { outcome: "rejected"; error: string };

/**
 * Many documents in one transaction, with results in the order of the items. An item that is itself at
 * fault (guard.ts, itemFault) is reported and the rest commit. Everything else fails the call, and nothing
 * is written: a fault in the *arguments* (an invalid field name, an array over 8192) before it starts; a
 * limit of the whole transaction (16 MiB read: each item reads its stored row twice; 1 s of time) or a
 * bug, half-way. sink.batch_documents (64, at most 1024) and sink.batch_bytes (1 MiB) limit what the
 * sidecar sends.
 */
export const upsertBatch = internalMutation({
  args: {
    items: v.array(v.object({ kind: v.string(), op: v.optional(v.literal("remove")), ...guard.itemFields })),
    ...callFields,
    raise: v.optional(raise),
  },
  returns: v.object({
    results: v.array(
      v.union(v.object(guard.outcomeFields), v.object({ outcome: v.literal("rejected"), error: v.string() })),
    ),
    ...echoFields,
  }),
  handler: async (ctx, { items, ...call }) => {
    const results: Result[] = [];
    for (const { kind, op, ...item } of items) {
      try {
        results.push(await (op === "remove" ? guard.bury : guard.apply)(ctx, kind, item));
      } catch (e) {
        const error = guard.itemFault(e);
        if (error === null) throw e;
        results.push({ outcome: "rejected", error });
      }
    }
    return { results, ...(await echo(ctx, call)) };
  },
});

/** Remove one projection, unless a newer one is stored; leaves a tombstone. */
export const remove = internalMutation({
  args: {
    kind: v.string(),
    document_id: v.string(),
    projected_at: v.optional(v.string()),
    seq: v.optional(v.number()),
    ...callFields,
  },
  returns: v.object({ ...guard.outcomeFields, ...echoFields }),
  handler: async (ctx, { kind, call, store, ...item }) => ({
    ...(await guard.bury(ctx, kind, item)),
    ...(await echo(ctx, { call, store })),
  }),
});

type Rows = AsyncIterable<Doc<"runtime_projections">>;

/** Delete what `rows` yields, up to `limit` rows and 2 MiB. */
async function deletePage(ctx: MutationCtx, rows: Rows, limit: number) {
  let deleted = 0;
  let bytes = 0;
  for await (const row of rows) {
    if (deleted >= Math.min(limit, PAGE_ROWS) || bytes > PAGE_BYTES) return { deleted, is_done: false };
    bytes += getDocumentSize(row);
    await ctx.db.delete("runtime_projections", row._id);
    deleted += 1;
  }
  return { deleted, is_done: true };
}

/**
 * Delete rows, tombstones and marks; call until is_done. For an operator who starts over
 * (docs/CONVEX.md): the sidecar itself clears one document at a time, with tombstones.
 */
export const clear = internalMutation({
  args: { kind: v.optional(v.string()), limit: v.optional(v.number()) },
  returns: v.object({ deleted: v.number(), is_done: v.boolean() }),
  handler: async (ctx, { kind, limit }) => {
    await guard.forgetSidecars(ctx);
    const table = ctx.db.query("runtime_projections");
    const rows = kind === undefined ? table : table.withIndex("by_kind_document_id", (q) => q.eq("kind", kind));
    return deletePage(ctx, rows, limit ?? PAGE_ROWS);
  },
});

/** Delete tombstones of `kind` whose removal was before `before` (ms); call until is_done. */
export const sweep = internalMutation({
  args: { kind: v.string(), before: v.number(), limit: v.optional(v.number()) },
  returns: v.object({ deleted: v.number(), is_done: v.boolean() }),
  handler: (ctx, { kind, before, limit }) => {
    const graves = ctx.db
      .query("runtime_projections")
      .withIndex("by_owner_kind_updated", (q) => q.eq("owner", guard.REMOVED).eq("kind", kind).lt("updated_at_ms", before));
    return deletePage(ctx, graves, limit ?? PAGE_ROWS);
  },
});

// ------------------------------------------------------------------------------------- audit ----

/** Pages of whole rows, for operators; tombstones (summary null) included. */
export const listProjections = internalQuery({
  args: { kind: v.string(), paginationOpts: paginationOptsValidator },
  handler: async (ctx, { kind, paginationOpts: { numItems, ...opts } }) => {
    const rows = await ctx.db
      .query("runtime_projections")
      .withIndex("by_kind_document_id", (q) => q.eq("kind", kind))
      .paginate({ ...opts, numItems: Math.min(numItems, PAGE_ROWS), maximumBytesRead: PAGE_BYTES });
    const page = await Promise.all(rows.page.map(async (row) => ({ ...row, summary: await guard.whole(row.summary) })));
    return { ...rows, page };
  },
});

/** One row, as the drift audit compares it. */
async function digestOf(row: Doc<"runtime_projections">, verify: boolean) {
  const { document_id, seq, summary } = row;
  const at = row.floor !== undefined && row.floor > row.projected_at ? row.floor : row.projected_at;
  if (summary === null) return { document_id, seq, content_hash: null, removed: true, projected_at: at };
  const content_hash = (await guard.promised(row)) ?? null;
  if (!verify) return { document_id, seq, content_hash };
  return { document_id, seq, content_hash, projected_at: at, actual_hash: await canonicalHash(summary), intact: guard.intact(row) };
}

/**
 * Keyset pages of the stored rows, in byte order of document_id, without tombstones: the drift audit
 * merges them with the checkpoints and can resume from any key. With `verify` the hash is recomputed
 * from the document, so that somebody else's edit shows; `projected_at` is then the earliest time that
 * a version may have to be accepted (as a sortable key, see `instant`).
 *
 * With `document_ids` only these (200 at most), in that order, with tombstones: the audit compares
 * them a second time.
 */
export const listDigests = internalQuery({
  args: {
    kind: v.string(),
    after: v.optional(v.union(v.string(), v.null())),
    limit: v.optional(v.number()),
    verify: v.optional(v.boolean()),
    document_ids: v.optional(v.array(v.string())),
  },
  returns: v.object({
    digests: v.array(
      v.object({
        document_id: v.string(),
        seq: v.number(),
        content_hash: v.union(v.string(), v.null()),
        removed: v.optional(v.boolean()),
        projected_at: v.optional(v.string()),
        actual_hash: v.optional(v.string()),
        intact: v.optional(v.boolean()),
      }),
    ),
    // The last id that was read; null = the end was reached.
    next: v.union(v.string(), v.null()),
  }),
  handler: async (ctx, { kind, after, limit, verify, document_ids }) => {
    const max = Math.min(limit ?? 500, PAGE_ROWS);
    const digests: Awaited<ReturnType<typeof digestOf>>[] = [];
    let seen = 0;
    let bytes = 0;
    const isFull = () => seen >= max || bytes > PAGE_BYTES;
    if (document_ids !== undefined) {
      if (document_ids.length > 200) throw new ConvexError({ code: "TOO_MANY_IDS" });
      for (const document_id of document_ids) {
        const row = await guard.find(ctx, kind, document_id);
        if (row !== null) digests.push(await digestOf(row, verify ?? false));
        seen += 1;
        bytes += row === null ? 0 : getDocumentSize(row);
        if (isFull()) return { digests, next: seen < document_ids.length ? document_id : null };
      }
      return { digests, next: null };
    }
    const rows = ctx.db
      .query("runtime_projections")
      .withIndex("by_kind_document_id", (q) =>
        after === undefined || after === null ? q.eq("kind", kind) : q.eq("kind", kind).gt("document_id", after),
      );
    for await (const row of rows) {
      if (row.summary !== null) digests.push(await digestOf(row, verify ?? false));
      seen += 1;
      bytes += getDocumentSize(row);
      if (isFull()) return { digests, next: row.document_id };
    }
    return { digests, next: null };
  },
});
