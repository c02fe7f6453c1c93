// The types that clients get, only compiled (types.mjs): an unused @ts-expect-error means that the compiler missed a mistake.
import type { RegisteredQuery } from "convex/server";
import { v } from "convex/values";
import { documentOf, text } from "../../priv/convex/documents.js";
import { getCodexWorker, getOwn, getRun, listOwn, listRuns } from "../../priv/convex/summaries.js";

type Returned<Q> = Q extends RegisteredQuery<any, any, infer R> ? Awaited<R> : never;
declare const run: NonNullable<Returned<typeof getRun>>;
declare const worker: NonNullable<Returned<typeof getCodexWorker>>;
declare const page: Returned<typeof listRuns>["page"];

export const status: string | null = run.status;
export const seq: number = page[0].runtime_source.seq;
export const id: string = worker.worker_id + worker.runtime_source.worker_id;
export const kind: "run_summary" = run.kind;
// @ts-expect-error a run has no such field
run.sttaus;
// @ts-expect-error it may be null
export const certain: string = run.status;
// @ts-expect-error a run is not a worker
run.worker_id;
// @ts-expect-error null means that there is no such document
export const there: typeof run = null as Returned<typeof getRun>;

const invoice = documentOf("invoice_summary", "invoice_id", { status: text, amount: v.number() });
const [getInvoice, listInvoices, getUntyped] = [getOwn("invoice_summary", invoice), listOwn("invoice_summary", invoice), getOwn("invoice_summary")];
declare const mine: NonNullable<Returned<typeof getInvoice>>;
export const amount: number = mine.amount + (null as unknown as Returned<typeof listInvoices>).page[0].amount;
// @ts-expect-error it is a number
export const wrong: string = mine.amount;
// Without `document` the type is any.
export const any: boolean = (null as unknown as NonNullable<Returned<typeof getUntyped>>).whatever;
