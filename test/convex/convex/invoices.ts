// Stand-in only: the one query of a kind of one's own (test/kinds_test.exs).
import { getOwn, listOwn } from "../../../priv/convex/summaries.js";

export const get = getOwn("invoice_summary");
export const list = listOwn("invoice_summary");
