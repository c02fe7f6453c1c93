import { defineSchema, defineTable } from "convex/server";
import { v } from "convex/values";
import { projectionTables } from "convex-sidecar-functions/tables";

export default defineSchema({
  ...projectionTables,
  notes: defineTable({ author: v.string(), run: v.string(), text: v.string() }).index("by_run", ["run"]),
});
