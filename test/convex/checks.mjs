// Shared by the tests here: counting, the running stand-in, waiting for a condition.
import { readFileSync } from "node:fs";
import { ConvexHttpClient } from "convex/browser";
import { anyApi as api } from "convex/server";

export function counter() {
  const count = { passed: 0, failed: 0 };
  const eq = (name, got, want) => {
    if (JSON.stringify(got) === JSON.stringify(want)) return void count.passed++;
    count.failed++;
    console.log(`FAIL ${name}\n  got  ${JSON.stringify(got)}\n  want ${JSON.stringify(want)}`);
  };
  const finish = () => { console.log(`${count.passed} passed, ${count.failed} failed`); process.exit(count.failed ? 1 : 0); };
  return { eq, finish };
}

/** Whether `f` became true in time. */
export async function until(f, ms = 10000) {
  const end = Date.now() + ms;
  while (!(await f())) {
    if (Date.now() > end) return false;
    await new Promise((r) => setTimeout(r, 5));
  }
  return true;
}

/** The stand-in of STANDIN_STATE: {info, control, token, admin, put}. */
export function standin() {
  const info = JSON.parse(readFileSync(new URL(`${process.env.STANDIN_STATE ?? ".state"}/ready.json`, import.meta.url)));
  const control = (method, path, body) => fetch(`${info.url}/__standin/${path}`, { method, body: body && JSON.stringify(body) }).then((r) => r.json());
  const token = async (claims, provider = "jwt") => (await control("POST", provider, claims)).token;
  const admin = new ConvexHttpClient(info.url, { logger: false });
  admin.setAdminAuth(info.admin_key);
  const item = (id, seq, owner) => ({ kind: "run_summary", document_id: id, seq, summary: { id, runtime_source: { seq }, projected_at: new Date(1.77e12 + seq * 1000).toISOString(), owner_user_id: owner } });
  /** Write one run, or several at once: [[id, seq, owner], ...]. */
  const put = (...runs) => admin.mutation(api.runtime.upsertBatch, { items: (Array.isArray(runs[0]) ? runs : [runs]).map((r) => item(...r)) });
  return { info, control, token, admin, put };
}
