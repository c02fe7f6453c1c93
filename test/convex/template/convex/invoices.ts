// A kind of the app's own (convex_kinds), which the sidecar writes and clients read in the same way as runs.
import { v } from "convex/values";
import { documentOf, map, text } from "convex-sidecar-functions/documents";
import { getOwn, listOwn } from "convex-sidecar-functions/summaries";

const invoice = documentOf("invoice_summary", "invoice_id", { status: text, amount: v.number(), metadata: map });

export const get = getOwn("invoice_summary", invoice);
export const list = listOwn("invoice_summary", invoice);
