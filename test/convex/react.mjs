// React against the stand-in's websocket: ConvexProviderWithAuth, useQuery, usePaginatedQuery, with the real react-dom
// in jsdom. Prints "N passed, N failed".
import { JSDOM } from "jsdom";
import WebSocket from "ws";
import { anyApi as api } from "convex/server";
import { counter, standin, until } from "./checks.mjs";

// A browser's globals, set before react-dom reads them.
const dom = new JSDOM("<div id=root></div>", { url: "http://localhost/", pretendToBeVisual: true });
for (const name of ["window", "document", "navigator", "HTMLElement", "HTMLIFrameElement", "Node", "Event"])
  Object.defineProperty(globalThis, name, { value: name === "window" ? dom.window : dom.window[name], configurable: true, writable: true });
const { createElement: h, useCallback, useMemo } = await import("react");
const { createRoot } = await import("react-dom/client");
const { ConvexReactClient, ConvexProviderWithAuth, useConvexAuth, usePaginatedQuery, useQuery } = await import("convex/react");

const { eq, finish } = counter();
const { info, control, token, admin, put } = standin();
await control("POST", "reset");
await put(...Array.from({ length: 7 }, (_, i) => [`r${i + 1}`, 1, 42]), ["theirs", 1, 43]);

// ---- the page
let who = { sub: "42" }, loadMore;
function useAuth() {
  const fetchAccessToken = useCallback(() => token(who), []);
  return useMemo(() => ({ isLoading: false, isAuthenticated: true, fetchAccessToken }), [fetchAccessToken]);
}
function Run({ id }) {
  const run = useQuery(api.summaries.getRun, { document_id: id });
  return h("p", null, run === undefined ? "loading" : run === null ? `${id}: none` : `${run.id}:${run.runtime_source.seq}`);
}
function Runs() {
  const page = usePaginatedQuery(api.summaries.listRuns, {}, { initialNumItems: 3 });
  loadMore = page.loadMore;
  return h("div", null, h("b", null, page.status), h("ul", null, page.results.map((r) => h("li", { key: r.id }, `${r.id}:${r.runtime_source.seq}`))));
}
function App() {
  const { isAuthenticated } = useConvexAuth();
  return isAuthenticated ? h("div", null, h(Run, { id: "r1" }), h(Runs)) : h("p", null, "signing in");
}
const client = new ConvexReactClient(info.url, { webSocketConstructor: WebSocket, logger: false, unsavedChangesWarning: false });
const root = createRoot(document.getElementById("root"));
root.render(h(ConvexProviderWithAuth, { client, useAuth }, h(App)));

// ---- what it shows
const text = (selector) => document.querySelector(selector)?.textContent ?? "";
const rows = () => [...document.querySelectorAll("li")].map((li) => li.textContent);
const shows = async (name, f) => eq(`${name}; it shows ${text("p")} | ${text("b")} ${rows()}`, await until(f), true);
const all = (...versions) => versions.map((v, i) => `r${i + 1}:${v}`).sort().join();
const sorted = () => rows().sort().join();

await shows("signed in, the first page", () => text("p") === "r1:1" && text("b") === "CanLoadMore" && rows().length === 3);
await put("r1", 2, 42);
await shows("useQuery follows", () => text("p") === "r1:2");
loadMore(2); // r1 has moved to the front of the first page
await shows("a second page", () => text("b") === "CanLoadMore" && rows().length >= 6 && new Set(rows()).size === rows().length);
loadMore(9);
await shows("all of it, once each", () => text("b") === "Exhausted" && sorted() === all(2, 1, 1, 1, 1, 1, 1));
await put(["r1", 3, 42], ["r4", 2, 42], ["r7", 2, 42]);
await shows("rows of every page follow", () => sorted() === all(3, 1, 1, 2, 1, 1, 2) && text("p") === "r1:3");
await put("r8", 1, 42);
await shows("a new run appears", () => sorted() === all(3, 1, 1, 2, 1, 1, 2, 1));
await admin.mutation(api.runtime.remove, { kind: "run_summary", document_id: "r8", projected_at: "2027-01-01T00:00:00.000000Z" });
await shows("a removed one goes", () => sorted() === all(3, 1, 1, 2, 1, 1, 2));
await put("r1", 4, 43);
await shows("one that is given away goes, and useQuery is null", () => rows().length === 6 && text("p") === "r1: none");
await control("POST", "away", { ms: 200 });
await until(async () => { try { return (await control("GET", "stats")).sync; } catch { return false; } });
await put(["r1", 5, 42], ["r2", 2, 42]);
await shows("after a restart of the deployment", () => text("p") === "r1:5" && sorted() === all(5, 2, 1, 2, 1, 1, 2));
root.unmount();
await client.close();
finish();
