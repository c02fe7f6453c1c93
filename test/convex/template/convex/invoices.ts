// A kind of the app's own (convex_kinds), which the sidecar writes and clients read as they do runs.
import { getOwn, listOwn } from "convex-sidecar-functions/summaries";

export const get = getOwn("invoice_summary");
export const list = listOwn("invoice_summary");
