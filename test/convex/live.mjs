// Subscriptions: Convex's own ConvexClient, and the bare protocol, against the stand-in's websocket (sync.mjs).
// Prints "N passed, N failed".
import { ConvexClient } from "convex/browser";
import { anyApi as api } from "convex/server";
import WebSocket from "ws";
import { counter, standin, until } from "./checks.mjs";

const { eq, finish } = counter();
const { info, control, token, put } = standin();
const syncStats = async () => (await control("GET", "stats")).sync;
const connect = (fetchToken) => {
  const client = new ConvexClient(info.url, { webSocketConstructor: WebSocket, logger: false, unsavedChangesWarning: false });
  const state = { client, signedIn: null };
  if (fetchToken) client.setAuth(fetchToken, (ok) => { state.signedIn = ok; });
  return state;
};
const watch = (client, id) => {
  const seen = [];
  const stop = client.onUpdate(api.summaries.getRun, { document_id: id }, (s) => seen.push(s?.runtime_source.seq ?? null), (e) => seen.push(e.data?.code ?? e.message));
  return { seen, stop, shows: (seq) => until(() => seen.length > 0 && seen.at(-1) === seq) };
};

await control("POST", "reset");

// ---- a signed-in client sees its documents change
const { client, ...one } = connect(() => token({ sub: "42" }));
const d = watch(client, "d"), other = watch(client, "other");
let list = null;
client.onUpdate(api.summaries.listRuns, { paginationOpts: { numItems: 10, cursor: null } }, (p) => { list = p.page.map((s) => `${s.id}:${s.runtime_source.seq}`).sort(); });
const listed = async (want) => eq(`the list is ${want}`, [await until(() => JSON.stringify(list) === JSON.stringify(want)), list], [true, want]);
eq("nothing is there yet", await d.shows(null), true);
await listed([]);
await put("d", 1, 42);
eq("it appears by itself", await d.shows(1), true);
await listed(["d:1"]);
await put("d", 2, 42);
eq("and changes", await d.shows(2), true);

// ---- a change outside every result wakes no client: the next update is the next visible change
await put("other", 1, 42); await other.shows(1);
const [n, before] = [d.seen.length, await syncStats()];
await put("d", 2, 42);
await put("theirs", 1, 43);
await put("other", 2, 42); await other.shows(2);
eq("an unchanged write and another's document are not seen", d.seen.slice(n), []);
eq("two results went out, the one that changed and its list", (await syncStats()).updates - before.updates, 2);
await listed(["d:2", "other:2"]);
const written = await syncStats();
await put("d", 2, 42);
eq("nothing is run again after a write that wrote nothing", (await syncStats()).queries - written.queries, 0);

// ---- a document that gets another owner disappears
await put("d", 3, 43);
eq("given to another owner: gone", await d.shows(null), true);
await listed(["other:2"]);
await put("d", 4, 42);
eq("given back", await d.shows(4), true);

// ---- no client can write over the websocket
const refusal = (promise) => promise.then(() => "done", (e) => (/Could not find public function/.test(e.message) ? "not found" : e.message));
const anonymous = connect().client;
for (const [who, c] of [["a user", client], ["anonymous", anonymous]]) {
  for (const f of ["attach", "upsertBatch", "upsertRunSummary", "upsertCodexWorkerSummary", "remove", "clear", "sweep"])
    eq(`${who} cannot call ${f}`, await refusal(c.mutation(api.runtime[f], { items: [], kind: "run_summary", document_id: "d", summary: {} })), "not found");
  eq(`${who} cannot call it as an action`, await refusal(c.action(api.runtime.clear, {})), "not found");
  for (const f of ["listDigests", "listProjections"]) eq(`${who} cannot read all by ${f}`, await refusal(c.query(api.runtime[f], { kind: "run_summary" })), "not found");
}
eq("a public mutation is answered", await client.mutation(api.diag.logs, {}), null);
eq("the document stands", d.seen.at(-1), 4);
const nobody = watch(anonymous, "d");
eq("anonymous reads nothing", await nobody.shows("UNAUTHENTICATED"), true);
await anonymous.close();

// ---- other users
const b = connect(() => token({ sub: "43" })), theirs = watch(b.client, "d");
eq("another user sees null", await theirs.shows(null), true);
const second = connect(() => token({ sub: "42" }, "jwt?second")), foreign = watch(second.client, "d");
eq("42 of a second provider is signed in", await until(() => second.signedIn === true), true);
eq("and sees null", await foreign.shows(null), true);
const wrong = connect(() => token({ sub: "42", aud: "another-app" }));
eq("a wrong audience is not signed in", await until(() => wrong.signedIn === false), true);
eq("and reads nothing", await watch(wrong.client, "d").shows("UNAUTHENTICATED"), true);
for (const c of [b, second, wrong]) await c.client.close();

// ---- an expiring token is renewed, and the subscription continues
let given = 0; // the client treats the first as cached, and replaces it at once
const now = () => Math.floor(Date.now() / 1000);
const renewed = connect(() => token(given++ < 2 ? { sub: "42", iat: now() - 100, exp: now() - 3 } : { sub: "42" }));
const r = watch(renewed.client, "d");
eq("a token in its last seconds signs in", await r.shows(4), true);
let seq = 4;
const errors = (await syncStats()).authErrors;
eq("it runs out", await until(async () => { await put("d", ++seq, 42); return (await syncStats()).authErrors > errors; }, 20000), true);
eq("a new one was fetched and the newest is seen", [await r.shows(seq), given >= 3], [true, true]);
await renewed.client.close();

// ---- the deployment restarts
await d.shows(seq);
const sessions = (await syncStats()).sessions;
await control("POST", "away", { ms: 300 });
eq("the client comes back", await until(async () => { try { return (await syncStats()).sessions > sessions; } catch { return false; } }, 20000), true);
await put("d", ++seq, 42);
eq("and sees what is written then", await d.shows(seq), true);

// ---- queries that nobody watches are not run
d.stop(); other.stop();
eq("unsubscribed", await until(async () => { const a = (await syncStats()).queries; await put("d", ++seq, 42); await listed([`d:${seq}`, "other:2"]); return (await syncStats()).queries - a === 1; }), true);
await client.close();
eq("signed in all along", one.signedIn !== false, true);

// ---- the bare protocol
function raw() {
  const ws = new WebSocket(`${info.url.replace("http", "ws")}/api/1.49.0/sync`), got = [];
  const state = { ws, got, closed: null, send: (m) => ws.send(typeof m === "string" ? m : JSON.stringify(m)) };
  ws.on("message", (data) => got.push(JSON.parse(data.toString())));
  ws.on("close", (code) => { state.closed = code; });
  return new Promise((ok, no) => { ws.on("open", () => { state.send({ type: "Connect", sessionId: "5f4dcc3b-aa76-4d61-9327-deb882cf9901", connectionCount: 0, lastCloseReason: null, clientTs: 0 }); ok(state); }); ws.on("error", no); });
}
const last = async (s) => { await until(() => s.closed !== null); const m = s.got.at(-1); return [m?.type, m?.error?.split(":")[0], s.closed]; };
const add = (queryId, document_id) => ({ type: "Add", queryId, udfPath: "summaries:getRun", args: [{ document_id }] });
let s = await raw();
s.send({ type: "Authenticate", tokenType: "User", value: await token({ sub: "42" }), baseVersion: 0 });
s.send({ type: "ModifyQuerySet", baseVersion: 0, newVersion: 1, modifications: [add(0, "d"), add(1, "other")] });
await until(() => s.got.length === 2);
await put(["d", ++seq, 42], ["other", seq, 42]);
await until(() => s.got.length === 3);
const [first, , both] = s.got;
eq("what is written at once is seen at once", both.modifications.map((m) => [m.type, m.queryId, m.value.runtime_source.seq]), [["QueryUpdated", 0, seq], ["QueryUpdated", 1, seq]]);
eq("each Transition goes on from the last", [first.endVersion, s.got[1].endVersion], [s.got[1].startVersion, both.startVersion]);
s.send({ type: "ModifyQuerySet", baseVersion: 1, newVersion: 2, modifications: [{ type: "Remove", queryId: 0 }] });
await until(() => s.got.length === 4);
eq("a query is removed", s.got[3].modifications, [{ type: "QueryRemoved", queryId: 0 }]);
s.send({ type: "ModifyQuerySet", baseVersion: 1, newVersion: 2, modifications: [] });
eq("a version that is not the current one", await last(s), ["FatalError", "BaseVersionMismatch", 1008]);
s = await raw(); s.send("{");
eq("no JSON", await last(s), ["FatalError", "WSMessageInvalidJson", 1008]);
s = await raw(); s.send({ type: "Shout" });
eq("no message of the protocol", await last(s), ["FatalError", "WSMessageInvalidJson", 1008]);
s = await raw(); s.send({ type: "Authenticate", tokenType: "User", value: await token({ sub: 42 }), baseVersion: 0 });
eq("an integer sub", [(await last(s))[0], s.got.at(-1).authUpdateAttempted, s.closed], ["AuthError", true, 1008]);
s = await raw(); s.send({ type: "Authenticate", tokenType: "Admin", value: "convex-self-hosted|00", baseVersion: 0 });
eq("a wrong admin key", [(await last(s))[0], s.closed], ["AuthError", 1008]);
const elsewhere = await new Promise((ok) => new WebSocket(`${info.url.replace("http", "ws")}/api/nope`).on("unexpected-response", (_, res) => ok(res.statusCode)).on("error", () => {}));
eq("another path", elsewhere, 404);
finish();
