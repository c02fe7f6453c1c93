// Stand-in only: functions that provoke each kind of answer.
import { ConvexError, v } from "convex/values";
import { action, internalMutation, internalQuery, mutation, query } from "../../../priv/convex/_generated/server.js";

export const echo = query({ args: { value: v.any() }, handler: async (_ctx, { value }) => value });
export const echoInternal = internalQuery({ args: { value: v.any() }, handler: async (_ctx, { value }) => value });
export const whoami = query({ args: {}, handler: async (ctx) => (await ctx.auth.getUserIdentity()) });
export const int64 = query({ args: { n: v.int64() }, handler: async (_ctx, { n }) => n + 1n });
export const typed = mutation({
  args: { s: v.string(), n: v.number(), o: v.optional(v.object({ x: v.boolean() })) },
  handler: async () => null,
});
export const throwError = mutation({ args: { message: v.string() }, handler: async (_ctx, { message }) => { throw new Error(message); } });
export const throwConvexError = mutation({ args: { data: v.any() }, handler: async (_ctx, { data }) => { throw new ConvexError(data); } });
export const logs = mutation({ args: {}, handler: async () => { console.log("hello", 1, { a: [true] }); console.warn("careful"); return null; } });
const busy = () => { const { user, system } = process.cpuUsage(); return (user + system) / 1000; };
// Uses so many milliseconds of CPU time, whatever else this machine runs (server.mjs measures the same).
export const spin = internalMutation({ args: { ms: v.number() }, handler: async (_ctx, { ms }) => { const end = busy() + ms; while (busy() < end); return null; } });
// The database works for so long, then other processes on this machine: neither counts for the function.
export const search = internalQuery({ args: { ms: v.number() }, handler: async (ctx, { ms }) => {
  const end = busy() + ms;
  while (busy() < end) await ctx.db.query("runtime_projections").first(); // of all rows, by no index
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
  return null;
} });
export const act = action({ args: {}, handler: async () => "acted" });
// What a user of a database console could do without the sidecar's knowledge: edit one row (the given
// columns, no guard), delete it (patch null), or add it (if there is none).
export const tamper = internalMutation({
  args: { kind: v.string(), document_id: v.string(), patch: v.any() },
  handler: async (ctx, { kind, document_id, patch }) => {
    const row = await ctx.db
      .query("runtime_projections")
      .withIndex("by_kind_document_id", (q) => q.eq("kind", kind).eq("document_id", document_id))
      .unique();
    if (row === null) await ctx.db.insert("runtime_projections", { kind, document_id, seq: 0, projected_at: "", summary: {}, updated_at_ms: Date.now(), ...patch });
    else if (patch === null) await ctx.db.delete("runtime_projections", row._id);
    else await ctx.db.patch("runtime_projections", row._id, { ...patch, ...(patch.summary ? { summary: { ...row.summary, ...patch.summary } } : {}) });
    return null;
  },
});
