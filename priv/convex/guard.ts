/**
 * The rows: the guard that every write passes, tombstones, and the few rows that are not documents.
 * The functions that the sidecar calls are in runtime.ts; clients read through summaries.ts.
 */
import { ConvexError, v } from "convex/values";
import type { Doc } from "./_generated/dataModel.js";
import type { MutationCtx, QueryCtx } from "./_generated/server.js";
import { canonical, canonicalHash } from "./canonical.js";

/** The kind of the sidecar's own rows: the deployment's id, and a mark for each store (docs/adr/0011). */
export const SIDECAR = "_sidecar";
/** The kind of controls, which are written only to see whether writing works. */
export const CONTROL = "_control";
/** The owner of tombstones, so that `sweep` finds them; no token ever maps to it. */
export const REMOVED = "removed";

// Everything but the document may be left out, and is then read from the summary itself, so that the
// guard also protects a writer that sends only {document_id, summary} (the runtime's HttpSink).
export const itemFields = {
  document_id: v.string(),
  summary: v.optional(v.any()),
  seq: v.optional(v.number()),
  projected_at: v.optional(v.string()),
  content_hash: v.optional(v.string()),
  // History was corrected: this version may lower the stored seq; only projected_at orders it.
  reset: v.optional(v.boolean()),
};

export type Item = {
  document_id: string;
  summary?: any;
  seq?: number;
  projected_at?: string;
  content_hash?: string;
  reset?: boolean;
};

export const outcomeFields = {
  outcome: v.union(
    v.literal("inserted"),
    v.literal("updated"),
    v.literal("unchanged"),
    v.literal("stale"),
    v.literal("removed"),
  ),
  // What stands after the call.
  seq: v.number(),
};
export type Outcome = {
  outcome: "inserted" | "updated" | "unchanged" | "stale" | "removed";
  seq: number;
};

type Row = Doc<"runtime_projections">;

/** The codes of the faults that apply and bury themselves find in an item. */
const FAULTS = ["BAD_SUMMARY", "BAD_SEQ", "BAD_PROJECTED_AT", "RESERVED_KIND"] as const;

const fault = (code: (typeof FAULTS)[number], document_id: string) => new ConvexError({ code, document_id });

/**
 * The database's errors about one value. Paths are in get-convex/convex-backend, at 94a42c3:
 *   crates/common/src/document.rs:584, crates/value/src/size.rs:47    over 1 MiB
 *   crates/common/src/document.rs:421 and 1328                        nested over 16
 *   crates/common/src/schemas/mod.rs:94                               against the schema
 */
const REFUSALS = [
  /^Value is too large \(.* > maximum size .*\)/,
  /Document is too nested \(nested \d+ levels deep > maximum nesting \d+\)/,
  /^Failed to insert or update a document in table "\w+" because it does not match the schema: /,
];

/**
 * What `e` says about the item that was being written; null if it may be about anything else: the
 * limits of the whole transaction, a missing index, a bug. Listing what may be an item's fault is the
 * safe choice: what is not listed fails the call, and the sidecar searches for the item at fault.
 */
export function itemFault(e: unknown): string | null {
  if (!(e instanceof Error)) return null;
  const own = e instanceof ConvexError && FAULTS.includes((e.data as any)?.code);
  return own || REFUSALS.some((text) => text.test(e.message)) ? e.message : null;
}

/** An ISO 8601 time as a key that sorts as the time does, to the nanosecond; null if invalid. */
function keyOf(text: unknown): string | null {
  const m = typeof text === "string" && /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)$/.exec(text);
  const ms = m ? Date.parse(m[1] + m[3]) : NaN;
  if (!m || Number.isNaN(ms) || ms < 0) return null;
  return String(ms / 1000).padStart(12, "0") + "." + (m[2] ?? "").padEnd(9, "0").slice(0, 9);
}

/** The same for a value that must be a time if it is present; "" if it is absent. */
export function instant(text: unknown, document_id: string): string {
  const key = text === undefined || text === null ? "" : keyOf(text);
  if (key === null) throw fault("BAD_PROJECTED_AT", document_id);
  return key;
}

const millis = (key: string) => Number(key) * 1000;

/** When the document last changed, in ms, by the log's own times; null if it has none. */
function changedAt(summary: any): number | null {
  const times = [summary?.latest_event_at, summary?.updated_at].map(keyOf).filter((key) => key !== null);
  return times.length === 0 ? null : Math.max(...times.map(millis));
}

function ownerOf(summary: any): string | undefined {
  const user = summary?.owner_user_id;
  if (typeof user === "number" || typeof user === "bigint" || typeof user === "string") return `user:${user}`;
  const scope = summary?.owner_guest_scope;
  return typeof scope === "string" && scope !== "" ? `guest:${scope}` : undefined;
}

export const find = (ctx: Pick<QueryCtx, "db">, kind: string, document_id: string) =>
  ctx.db
    .query("runtime_projections")
    .withIndex("by_kind_document_id", (q) => q.eq("kind", kind).eq("document_id", document_id))
    .unique();

type Content = { content_hash?: string; owner?: string; summary: any };

// The only part of Node's types in use, so that @types/node is not needed.
declare const process: { env: Record<string, string | undefined> };

/**
 * A summary as it is stored: unchanged. If OPENAGENTS_DERIVE_HASHES is 1, a hash that can be derived from the rest
 * is replaced by null, since each byte is written again at every change. Functions of 0.1 do not know that null: set
 * it only if you will not go back to them.
 */
export async function lean(summary: any): Promise<any> {
  if (process.env.OPENAGENTS_DERIVE_HASHES !== "1") return summary;
  const hash = summary.projection_hash;
  return typeof hash === "string" && hash === (await canonicalHash(summary)) ? { ...summary, projection_hash: null } : summary;
}

/** A summary as it was written. */
export async function whole(summary: any): Promise<any> {
  return summary?.projection_hash === null ? { ...summary, projection_hash: await canonicalHash(summary) } : summary;
}

const FOLLOWS = "follows"; // derived from the content, whatever that is

/** The hash that the writer promised: in the summary, or beside it if the summary has none. */
function promise(row: Content): string | undefined {
  const own = row.summary?.projection_hash;
  return row.content_hash ?? (own === null ? FOLLOWS : typeof own === "string" ? own : undefined);
}

/** The same, in full. */
export async function promised(row: Content): Promise<string | undefined> {
  const hash = promise(row);
  return hash === FOLLOWS ? canonicalHash(row.summary) : hash;
}

/** The part of a summary that its hash covers. */
function content(summary: any): string {
  const { projected_at: _at, projection_hash: _hash, ...rest } = summary;
  return canonical(rest);
}

/**
 * Whether `row` already has `next`. An equal hash alone is not enough, so the content is compared too:
 * a row that somebody else has altered differs, and a rebuild repairs it.
 */
function stands(row: Row, next: Content): boolean {
  const changed = changedAt(next.summary);
  if (changed !== null && changed !== row.updated_at_ms) return false; // a row of version 1, whose updated_at_ms is the time of delivery
  const [was, is] = [promise(row), promise(next)];
  if (was === undefined || is === undefined) return canonical(next.summary) === canonical(row.summary);
  return is === was && next.owner === row.owner && content(next.summary) === content(row.summary);
}

/** Whether the row's own columns agree with its document: this finds an edit of one of them alone. */
export function intact(row: Row): boolean {
  const { summary } = row;
  const seq = summary?.runtime_source?.seq;
  if ((typeof seq === "number" && seq !== row.seq) || row.owner !== ownerOf(summary)) return false;
  return summary?.projected_at === undefined || keyOf(summary.projected_at) === row.projected_at;
}

function checkKind(kind: string, document_id: string): void {
  if (kind.startsWith("_") && kind !== CONTROL) throw fault("RESERVED_KIND", document_id);
}

function seqOf({ seq, summary, document_id }: Item): number | undefined {
  const given = seq ?? summary.runtime_source?.seq;
  if (given !== undefined && !(Number.isSafeInteger(given) && given >= 0)) throw fault("BAD_SEQ", document_id);
  return given;
}

/** The version of the entity's row, if its event log provides one. */
const rowVersionOf = (summary: any): number | undefined => {
  const given = summary?.runtime_source?.row_version;
  return typeof given === "number" ? given : undefined;
};

/** Whether `next` is older than `row` at the same seq: by the versions of the entity's row, else by the clock. */
function isOlder(next: { projected_at: string; summary: any }, row: Row): boolean {
  const [is, was] = [rowVersionOf(next.summary), rowVersionOf(row.summary)];
  if (is !== undefined && was !== undefined && is !== was) return is < was;
  return next.projected_at !== "" && next.projected_at < row.projected_at;
}

/** The row to store for `item`, given the stored `row`. */
async function rowOf(kind: string, item: Item, row: Row | null) {
  const { document_id, summary } = item;
  const at = instant(item.projected_at ?? summary.projected_at, document_id);
  const hash = item.content_hash;
  const floor = item.reset ? at : row?.floor;
  const owner = ownerOf(summary);
  return {
    kind,
    document_id,
    seq: seqOf(item) ?? row?.seq ?? 0,
    projected_at: at,
    ...(floor === undefined ? {} : { floor }),
    ...(hash === undefined || hash === summary.projection_hash ? {} : { content_hash: hash }),
    summary: await lean(summary),
    ...(owner === undefined ? {} : { owner }),
    updated_at_ms: changedAt(summary) ?? (at === "" ? Date.now() : millis(at)),
  };
}

/**
 * The guard: whatever is replayed, repeated, reordered or late, the newest version remains, and
 * sending the current one again writes nothing (no revision, no conflict, no client re-render).
 * It writes once, as its last step, so a refused item has written nothing.
 */
export async function apply(ctx: MutationCtx, kind: string, item: Item): Promise<Outcome> {
  checkKind(kind, item.document_id);
  if (item.summary === undefined || item.summary === null) throw fault("BAD_SUMMARY", item.document_id);
  const row = await find(ctx, kind, item.document_id);
  const next = await rowOf(kind, item, row);
  const { seq, projected_at: at } = next;
  if (row === null) {
    await ctx.db.insert("runtime_projections", next);
    return { outcome: "inserted", seq };
  }
  const stale: Outcome = { outcome: "stale", seq: row.seq };
  if (at !== "" && row.floor !== undefined && at < row.floor) return stale;
  // A control is always written, whatever its clock says: otherwise the schema would not check it.
  if (row.summary !== null && kind !== CONTROL) {
    // A reset repairs an edited row, so an edited row must not count as unchanged.
    const same = seq === row.seq && stands(row, next);
    if (same && !(item.reset && !intact(row))) return { outcome: "unchanged", seq };
    if (item.reset && at < row.projected_at) return stale;
    if (!item.reset && seq < row.seq) return stale;
    if (!item.reset && seq === row.seq && isOlder(next, row)) return stale;
  }
  await ctx.db.replace("runtime_projections", row._id, next);
  return { outcome: "updated", seq };
}

/**
 * A removed document leaves a tombstone, so that a call with an unknown outcome that commits late
 * cannot bring it back: everything projected before `projected_at` remains refused.
 */
export async function bury(ctx: MutationCtx, kind: string, item: Item): Promise<Outcome> {
  const { document_id } = item;
  checkKind(kind, document_id);
  const row = await find(ctx, kind, document_id);
  const at = instant(item.projected_at, document_id);
  const seq = row?.seq ?? item.seq ?? 0;
  const updated_at_ms = at === "" ? Date.now() : millis(at);
  const grave = { kind, document_id, seq, projected_at: at, floor: at, summary: null, owner: REMOVED, updated_at_ms };
  if (row === null) await ctx.db.insert("runtime_projections", grave);
  else if (at !== "" && at < row.projected_at) return { outcome: "stale", seq };
  else if (row.summary === null && row.floor === at && row.owner === REMOVED) return { outcome: "unchanged", seq };
  else await ctx.db.replace("runtime_projections", row._id, grave);
  return { outcome: "removed", seq };
}

// ------------------------------------------------------------------- rows that are not documents ---

const DEPLOYMENT = "deployment";

/** `from` is the number that must be stored (null: none) for `to` to replace it. */
export type Raise = { from: number | null; to: number };

function checkStore(store: string): void {
  if (!/^[0-9a-f]{32}$/.test(store)) throw new ConvexError({ code: "BAD_STORE", message: "a store id is 32 hex digits" });
}

/** This deployment's id, for as long as its rows exist; "" before the first attach. */
export async function deploymentOf(ctx: Pick<QueryCtx, "db">): Promise<string> {
  return (await find(ctx, SIDECAR, DEPLOYMENT))?.summary?.id ?? "";
}

/** The same, or `propose` from now on if there was none. */
export async function nameDeployment(ctx: MutationCtx, propose: string): Promise<string> {
  const id = await deploymentOf(ctx);
  if (id !== "") return id;
  const row = { kind: SIDECAR, document_id: DEPLOYMENT, seq: 0, projected_at: "", summary: { id: propose }, updated_at_ms: Date.now() };
  await ctx.db.insert("runtime_projections", row);
  return propose;
}

/**
 * The mark of `store`, after `raise` if its `from` matches the stored number; null if there is none. This
 * never hides a restore: a store that raises from another number is told the stored one.
 */
export async function markOf(ctx: MutationCtx, store: string, raise?: Raise): Promise<number | null> {
  checkStore(store);
  const row = await find(ctx, SIDECAR, store);
  const mark = row?.seq ?? null;
  if (raise === undefined || mark !== raise.from) return mark;
  const next = { kind: SIDECAR, document_id: store, seq: raise.to, projected_at: "", summary: {}, updated_at_ms: Date.now() };
  if (row === null) await ctx.db.insert("runtime_projections", next);
  else await ctx.db.replace("runtime_projections", row._id, next);
  return raise.to;
}

/** Clearing also removes marks and controls: marks exist to show that a table was emptied. */
export async function forgetSidecars(ctx: MutationCtx): Promise<void> {
  for (const kind of [SIDECAR, CONTROL]) {
    const rows = ctx.db.query("runtime_projections").withIndex("by_kind_document_id", (q) => q.eq("kind", kind));
    for await (const row of rows) await ctx.db.delete("runtime_projections", row._id);
  }
}
