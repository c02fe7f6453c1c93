/**
 * What the sidecar calls: writes with a guard, and the audit. All of it is internal: reachable over
 * HTTP only with `Authorization: Convex <admin key>`; to everybody else it does not exist. What
 * signed-in clients may call is in summaries.ts.
 */
import { ConvexError, getDocumentSize, v } from "convex/values";
import type { Doc } from "./_generated/dataModel.js";
import { internalMutation, internalQuery, type MutationCtx, type QueryCtx } from "./_generated/server.js";
import { paginationOptsValidator } from "convex/server";
import { canonical, canonicalHash } from "./canonical.js";

const RUN = "run_summary";
const CODEX_WORKER = "codex_worker_summary";

// Everything but the document may be left out: then it is read from the summary itself, so that a
// writer that sends {document_id, summary} alone (the runtime's HttpSink) is guarded just the same.
const itemFields = {
  document_id: v.string(),
  summary: v.optional(v.any()),
  seq: v.optional(v.number()),
  projected_at: v.optional(v.string()),
  content_hash: v.optional(v.string()),
  // History was corrected: this version may go below what stands, ordered by projected_at alone.
  reset: v.optional(v.boolean()),
};

type Item = {
  document_id: string;
  summary?: any;
  seq?: number;
  projected_at?: string;
  content_hash?: string;
  reset?: boolean;
};

const outcome = v.object({
  outcome: v.union(
    v.literal("inserted"),
    v.literal("updated"),
    v.literal("unchanged"),
    v.literal("stale"),
    v.literal("removed"),
  ),
  // What stands after the call.
  seq: v.number(),
});
type Outcome = {
  outcome: "inserted" | "updated" | "unchanged" | "stale" | "removed";
  seq: number;
};

/** An ISO 8601 time as a key that sorts as the time does, to the nanosecond; "" for none. */
function instant(text: unknown, document_id: string): string {
  if (text === undefined || text === null) return "";
  const m = typeof text === "string" && /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$/.exec(text);
  const ms = m ? Date.parse(m[1] + m[3]) : NaN;
  if (!m || Number.isNaN(ms) || ms < 0) throw new ConvexError({ code: "BAD_PROJECTED_AT", document_id });
  return String(ms / 1000).padStart(12, "0") + "." + (m[2] ?? "").padEnd(9, "0").slice(0, 9);
}

function ownerOf(summary: any): string | undefined {
  const user = summary?.owner_user_id;
  if (typeof user === "number" || typeof user === "bigint" || typeof user === "string") return `user:${user}`;
  const scope = summary?.owner_guest_scope;
  return typeof scope === "string" && scope !== "" ? `guest:${scope}` : undefined;
}

const find = (ctx: Pick<QueryCtx, "db">, kind: string, document_id: string) =>
  ctx.db
    .query("runtime_projections")
    .withIndex("by_kind_document_id", (q) => q.eq("kind", kind).eq("document_id", document_id))
    .unique();

type Content = { content_hash?: string; owner?: string; summary: any };

/** A summary as its hash sees it. */
function content(summary: any): string {
  const { projected_at: _at, projection_hash: _hash, ...rest } = summary;
  return canonical(rest);
}

/**
 * Whether `next` stands in `row` already. An equal hash is a promise that the content itself keeps:
 * what was altered behind the writer's back is different, and is put right by a rebuild.
 */
function stands(row: Content, next: Content): boolean {
  if (next.content_hash === undefined || row.content_hash === undefined) return canonical(next.summary) === canonical(row.summary);
  return next.content_hash === row.content_hash && next.owner === row.owner && content(next.summary) === content(row.summary);
}

/** Whether the row's own columns are what its document says: an edit of one of them alone shows here. */
function intact(row: Doc<"runtime_projections">): boolean {
  const { summary } = row;
  const seq = summary?.runtime_source?.seq;
  if ((typeof seq === "number" && seq !== row.seq) || row.owner !== ownerOf(summary)) return false;
  try {
    return summary?.projected_at === undefined || instant(summary.projected_at, row.document_id) === row.projected_at;
  } catch {
    return false;
  }
}

/**
 * The guard: whatever is replayed, repeated, reordered or late, the newest version stands, and
 * writing the current one again writes nothing (no revision, no conflict, no client re-render).
 */
async function apply(ctx: MutationCtx, kind: string, item: Item): Promise<Outcome> {
  const { document_id, summary } = item;
  if (summary === undefined || summary === null) throw new ConvexError({ code: "BAD_SUMMARY", document_id });
  const given = item.seq ?? summary.runtime_source?.seq;
  if (given !== undefined && !(Number.isSafeInteger(given) && given >= 0)) {
    throw new ConvexError({ code: "BAD_SEQ", document_id });
  }
  const at = instant(item.projected_at ?? summary.projected_at, document_id);
  const hash: string | undefined = item.content_hash ?? summary.projection_hash;
  const row = await find(ctx, kind, document_id);
  const seq = given ?? row?.seq ?? 0;
  const next = {
    kind,
    document_id,
    seq,
    projected_at: at,
    ...(item.reset ? { floor: at } : row?.floor === undefined ? {} : { floor: row.floor }),
    ...(hash === undefined ? {} : { content_hash: hash }),
    summary,
    ...(ownerOf(summary) === undefined ? {} : { owner: ownerOf(summary) }),
    updated_at_ms: Date.now(),
  };
  if (row === null) {
    await ctx.db.insert("runtime_projections", next);
    return { outcome: "inserted", seq };
  }
  const stale: Outcome = { outcome: "stale", seq: row.seq };
  if (at !== "" && row.floor !== undefined && at < row.floor) return stale;
  if (row.summary !== null) {
    // A reset is how an edited row is put right, so it may not pass for what it should be.
    if (seq === row.seq && stands(row, next) && !(item.reset && !intact(row))) return { outcome: "unchanged", seq };
    if (item.reset && at < row.projected_at) return stale;
    if (!item.reset && seq < row.seq) return stale;
    if (!item.reset && seq === row.seq && at !== "" && at < row.projected_at) return stale;
  }
  await ctx.db.replace("runtime_projections", row._id, next);
  return { outcome: "updated", seq };
}

/**
 * A removed document leaves a tombstone, so that a call whose outcome was unknown and which commits
 * late cannot bring it back: everything projected before `projected_at` stays refused.
 */
async function bury(ctx: MutationCtx, kind: string, item: Item): Promise<Outcome> {
  const { document_id } = item;
  const row = await find(ctx, kind, document_id);
  const at = instant(item.projected_at, document_id);
  const grave = { kind, document_id, seq: row?.seq ?? item.seq ?? 0, projected_at: at, floor: at, summary: null, updated_at_ms: Date.now() };
  if (row === null) await ctx.db.insert("runtime_projections", grave);
  else if (at !== "" && at < row.projected_at) return { outcome: "stale", seq: row.seq };
  else if (row.summary === null && row.floor === at) return { outcome: "unchanged", seq: row.seq };
  else await ctx.db.replace("runtime_projections", row._id, grave);
  return { outcome: "removed", seq: grave.seq };
}

// ------------------------------------------------------------------------------------ writes ----

export const upsertRunSummary = internalMutation({
  args: itemFields,
  returns: outcome,
  handler: (ctx, args) => apply(ctx, RUN, args),
});

export const upsertCodexWorkerSummary = internalMutation({
  args: itemFields,
  returns: outcome,
  handler: (ctx, args) => apply(ctx, CODEX_WORKER, args),
});

/**
 * Whether `e` is about all that the call has read and written ("Too many bytes read in a single
 * function execution"), not about the item at which the measure was full.
 */
const isOfWholeCall = (e: unknown) => e instanceof Error && e.message.includes(" in a single function execution");

/**
 * Many documents in one transaction, results in the order of the items. An item that the database
 * refuses (over 1 MiB, nested over 16) is reported and the rest commit. A fault in the *arguments*
 * (a bad field name, an array over 8192) fails the call before it starts, and one of the whole
 * transaction (16 MiB read: each item reads its standing row twice) fails it half-way: nothing is
 * written, and the sidecar halves the call. How many items and bytes it sends is sink.batch_documents
 * (64, at most 1024) and sink.batch_bytes (1 MiB).
 */
export const upsertBatch = internalMutation({
  args: {
    items: v.array(v.object({ kind: v.string(), op: v.optional(v.literal("remove")), ...itemFields })),
  },
  returns: v.object({
    results: v.array(v.union(outcome, v.object({ outcome: v.literal("rejected"), error: v.string() }))),
  }),
  handler: async (ctx, { items }) => {
    const results: (Outcome | { outcome: "rejected"; error: string })[] = [];
    for (const { kind, op, ...item } of items) {
      try {
        results.push(await (op === "remove" ? bury : apply)(ctx, kind, item));
      } catch (e) {
        if (isOfWholeCall(e)) throw e;
        results.push({ outcome: "rejected", error: e instanceof Error ? e.message : String(e) });
      }
    }
    return { results };
  },
});

/** Remove one projection, unless a newer one stands; leaves a tombstone. */
export const remove = internalMutation({
  args: {
    kind: v.string(),
    document_id: v.string(),
    projected_at: v.optional(v.string()),
    seq: v.optional(v.number()),
  },
  returns: outcome,
  handler: (ctx, { kind, ...item }) => bury(ctx, kind, item),
});

/**
 * Wipe rows and tombstones alike, up to `limit` rows (and ~2 MiB of them) a call; call until is_done.
 * For an operator who starts over (docs/OPERATIONS.md): the sidecar itself clears one document at a
 * time, with tombstones.
 */
export const clear = internalMutation({
  args: { kind: v.optional(v.string()), limit: v.optional(v.number()) },
  returns: v.object({ deleted: v.number(), is_done: v.boolean() }),
  handler: async (ctx, { kind, limit }) => {
    const max = Math.min(limit ?? 256, 1000);
    let deleted = 0;
    let bytes = 0;
    const rows =
      kind === undefined
        ? ctx.db.query("runtime_projections")
        : ctx.db.query("runtime_projections").withIndex("by_kind_document_id", (q) => q.eq("kind", kind));
    for await (const row of rows) {
      if (deleted >= max || bytes > 2 << 20) return { deleted, is_done: false };
      bytes += getDocumentSize(row);
      await ctx.db.delete("runtime_projections", row._id);
      deleted += 1;
    }
    return { deleted, is_done: true };
  },
});

// ------------------------------------------------------------------------------------- audit ----

/** Pages of whole rows, for operators; tombstones (summary null) included. */
export const listProjections = internalQuery({
  args: { kind: v.string(), paginationOpts: paginationOptsValidator },
  handler: (ctx, { kind, paginationOpts }) =>
    ctx.db
      .query("runtime_projections")
      .withIndex("by_kind_document_id", (q) => q.eq("kind", kind))
      .paginate(paginationOpts),
});

/** One row, as the drift audit looks at it. */
async function digestOf(row: Doc<"runtime_projections">, verify: boolean) {
  const { document_id, seq, summary } = row;
  const at = row.floor !== undefined && row.floor > row.projected_at ? row.floor : row.projected_at;
  if (summary === null) return { document_id, seq, content_hash: null, removed: true, projected_at: at };
  const content_hash = row.content_hash ?? null;
  if (!verify) return { document_id, seq, content_hash };
  return { document_id, seq, content_hash, projected_at: at, actual_hash: await canonicalHash(summary), intact: intact(row) };
}

/**
 * Key-set pages of what stands, in byte order of document_id, tombstones left out: the drift audit
 * merges them with the checkpoints and can resume from any key. With `verify` the hash is computed
 * anew from the document, so that an edit behind the sidecar's back shows; `projected_at` is then
 * what a version must not lie before to be taken (as a sortable key, see `instant`).
 *
 * With `document_ids` just these (200 at most), in that order, tombstones included: the second look
 * of the audit.
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
    // The last id that was looked at; null = the end was reached.
    next: v.union(v.string(), v.null()),
  }),
  handler: async (ctx, { kind, after, limit, verify, document_ids }) => {
    const max = Math.min(limit ?? 500, 4096);
    const digests: Awaited<ReturnType<typeof digestOf>>[] = [];
    let seen = 0;
    let bytes = 0;
    // Rows are read whole (16 MiB a call at most), so stop early.
    const isFull = () => seen >= max || bytes > 8 << 20;
    if (document_ids !== undefined) {
      if (document_ids.length > 200) throw new ConvexError({ code: "TOO_MANY_IDS" });
      for (const document_id of document_ids) {
        const row = await find(ctx, kind, document_id);
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
