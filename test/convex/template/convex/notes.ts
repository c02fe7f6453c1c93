// Functions of the app's own, which may read the projections, too.
import { v } from "convex/values";
import { api } from "./_generated/api.js";
import { mutation, query } from "./_generated/server.js";

export const add = mutation({
  args: { run: v.string(), text: v.string() },
  handler: async (ctx, { run, text }) => {
    const me = await ctx.auth.getUserIdentity();
    if (me === null) throw new Error("sign in first");
    await ctx.db.insert("notes", { author: me.tokenIdentifier, run, text });
  },
});

export const ofRun = query({
  args: { document_id: v.string() },
  handler: async (ctx, { document_id }): Promise<{ status: string | null; notes: string[] } | null> => {
    // Through the query that checks the reader: null for what is not the caller's.
    const run = await ctx.runQuery(api.summaries.getRun, { document_id });
    if (run === null) return null;
    const notes = await ctx.db.query("notes").withIndex("by_run", (q) => q.eq("run", document_id)).collect();
    return { status: run.status, notes: notes.map((n) => n.text) };
  },
});
