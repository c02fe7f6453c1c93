// serve.mjs: the live page (make demo SERVE=1), on a free loopback port. Bundles page/ with the esbuild of
// test/convex, gives the page its tokens (minted by the stand-in's issuer; for an application see docs/TOKENS.md)
// and forwards the sidecar's /status.
//
// Environment: STANDIN_STATE (folder with ready.json), DEMO_OBSERVE (the sidecar's [observe] port), PORT (0 = any free one).
// Prints "page URL" when it is ready.
import http from "node:http";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url)), tests = join(here, "../test/convex");
const esbuild = createRequire(join(tests, "server.mjs"))("esbuild");
const info = JSON.parse(readFileSync(join(process.env.STANDIN_STATE, "ready.json")));

const { outputFiles: [script] } = await esbuild.build({
  entryPoints: [join(here, "page/page.mjs")], bundle: true, minify: true, write: false, format: "iife", platform: "browser",
  target: "es2020", nodePaths: [join(tests, "node_modules")], logLevel: "error",
});
const read = (name) => readFileSync(join(here, "page", name));
const files = {
  "/": ["text/html; charset=utf-8", () => read("index.html")],
  "/page.css": ["text/css", () => read("page.css")],
  "/page.js": ["text/javascript", () => script.contents],
};
// No outside resources: the browser itself refuses them.
const convex = `${info.url} ${info.url.replace("http", "ws")}`;
const policy = `default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self' ${convex}; form-action 'none'; base-uri 'none'; frame-ancestors 'none'`;

const USERS = ["42", "43"];
async function status() {
  try {
    const answer = await fetch(`http://127.0.0.1:${process.env.DEMO_OBSERVE}/status`, { signal: AbortSignal.timeout(1000) });
    return await answer.json();
  } catch { return null; } // killed a moment ago
}
const calls = {
  "/where": () => ({ convex: info.url }),
  "/token": async ({ sub }) => {
    if (!USERS.includes(sub)) return { error: `the demo knows the users ${USERS.join(" and ")}` };
    return (await fetch(`${info.url}/__standin/jwt`, { method: "POST", body: JSON.stringify({ sub }) })).json();
  },
  "/sidecar": async () => ({ status: await status() }),
  "/kill": async () => {
    const pid = (await status())?.pid;
    if (Number.isInteger(pid) && pid > 1) process.kill(pid, "SIGKILL");
    return { pid: pid ?? null };
  },
};

const server = http.createServer(async (req, res) => {
  const path = new URL(req.url, "http://page").pathname;
  const answer = (status, type, body) => res.writeHead(status, { "content-type": type, "content-security-policy": policy, "cache-control": "no-store", "x-content-type-options": "nosniff" }).end(body);
  if (req.method === "GET" && files[path]) return answer(200, files[path][0], files[path][1]());
  // Accept calls from this page only: no other site can send that header.
  if (req.method === "POST" && calls[path] && req.headers["x-demo"] === "1") {
    let body = "";
    for await (const chunk of req) if ((body += chunk).length > 1000) return answer(413, "text/plain", "");
    try { return answer(200, "application/json", JSON.stringify(await calls[path](JSON.parse(body || "{}")))); }
    catch (e) { return answer(500, "application/json", JSON.stringify({ error: e.message })); }
  }
  return answer(404, "text/plain", "");
});
server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => console.log(`page http://127.0.0.1:${server.address().port}/`));
server.on("error", (e) => { console.error(`the page cannot listen on port ${process.env.PORT}: ${e.message}`); process.exit(1); });
