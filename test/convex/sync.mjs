// Convex's sync protocol: what ConvexClient, ConvexReactClient and the Swift, Kotlin, Rust and Python clients speak,
// over a websocket at /api/<client version>/sync (crates/sync/src, crates/local_backend/src/subs; the messages are in
// npm convex, src/browser/sync/protocol.ts).
//
// A session holds an identity and a set of queries. Both have versions; each change of either, and each commit that
// changes a result, is answered by one Transition from the version that the client has to the next one. All results
// of a Transition are read at the same moment. An error that the server cannot handle ends the session: FatalError (the
// client's fault, not to be retried) or AuthError (the client needs another token).
//
// Simpler than the backend: after a commit every query of every session runs again, where the backend runs those
// that read what was written; a client sees the same. Transitions over 5 MB are not cut into chunks.
import { WebSocketServer } from "ws";

const HEARTBEAT_MS = 15000; // HEARTBEAT_INTERVAL of crates/sync/src/worker.rs; clients give up after 60 s of silence
const MAX_MESSAGE = 1 << 24;
const encodeTs = (ts) => { const b = Buffer.alloc(8); b.writeBigUInt64LE(ts); return b.toString("base64"); };
const encodeVersion = (v) => ({ querySet: v.querySet, identity: v.identity, ts: encodeTs(v.ts) });

/** A reason to end a session, sent as its last message. */
class End extends Error { constructor(last) { super(last.error); this.last = last; } }
const fatal = (error) => new End({ type: "FatalError", error });

/**
 * Answer the websockets of `server`. `deps` are the stand-in's own: execute(type, path, args, identity, held),
 * snapshot(f), authenticate(token), parsePath, render(err), clientVersion(header). Returns {stats, changed, closeAll}:
 * `changed` is to be called after each commit.
 */
export function attach(server, deps) {
  const sockets = new WebSocketServer({ noServer: true, maxPayload: MAX_MESSAGE, perMessageDeflate: false });
  const sessions = new Set();
  const stats = { sessions: 0, queries: 0, transitions: 0, updates: 0, authErrors: 0 };
  // The commit clock: nanoseconds, strictly increasing.
  let clock = 0n;
  const tick = () => { const now = BigInt(Date.now()) * 1000000n; return (clock = now > clock ? now : clock + 1n); };

  server.on("upgrade", (req, socket, head) => {
    const refuse = (status, text = "") => void socket.end(`HTTP/1.1 ${status}\r\nconnection: close\r\ncontent-length: ${Buffer.byteLength(text)}\r\n\r\n${text}`);
    const m = /^\/api\/(?:([^/]+)\/)?sync$/.exec(new URL(req.url, "http://standin").pathname);
    if (!m) return refuse("404 Not Found");
    try { deps.clientVersion(`npm-${m[1] ?? "1.0.0"}`); } catch (e) { return refuse("400 Bad Request", JSON.stringify({ code: e.code, message: e.message })); }
    sockets.handleUpgrade(req, socket, head, (ws) => sessions.add(new Session(ws)));
  });

  class Session {
    constructor(ws) {
      Object.assign(this, { ws, queries: new Map(), token: {}, version: { querySet: 0, identity: 0, ts: 0n }, looking: false, again: false });
      this.turn = Promise.resolve(); // one message after the other
      stats.sessions++;
      const heartbeat = setInterval(() => this.send({ type: "Ping" }), HEARTBEAT_MS);
      ws.on("close", () => { sessions.delete(this); clearInterval(heartbeat); });
      ws.on("error", () => {});
      ws.on("message", (data) => this.inTurn(() => this.take(data.toString())));
    }
    send(message) { if (this.ws.readyState === this.ws.OPEN) this.ws.send(JSON.stringify(message)); }
    inTurn(f) { return (this.turn = this.turn.then(() => (this.ws.readyState === this.ws.OPEN ? f() : undefined)).catch((e) => this.end(e))); }
    end(e) {
      const theirs = e instanceof End || (e.status >= 400 && e.status < 500);
      if (e instanceof End) this.send(e.last);
      else if (theirs) this.send({ type: "FatalError", error: `${e.code}: ${e.message}` });
      else console.error(e); // a bug of the stand-in: the client reconnects by itself
      this.ws.close(theirs ? 1008 : 1011);
    }

    take(text) {
      let m;
      try { m = JSON.parse(text); } catch (e) { throw fatal(`WSMessageInvalidJson: Received Invalid JSON on websocket: ${e.message}`); }
      switch (m?.type) {
        case "Connect": case "Event": return;
        case "Authenticate": return this.authenticate(m);
        case "ModifyQuerySet": return this.modify(m);
        case "Mutation": case "Action": return this.call(m);
        default: throw fatal(`WSMessageInvalidJson: Received Invalid JSON on websocket: unknown variant ${m?.type}`);
      }
    }
    expect(what, base) {
      if (base !== this.version[what]) throw fatal(`BaseVersionMismatch: Base version ${base} passed up doesn't match the current version ${this.version[what]}`);
    }
    authenticate(m) {
      this.expect("identity", m.baseVersion);
      const token = m.tokenType === "None" ? {} : m.tokenType === "Admin" ? { admin: m.value, acting: m.impersonating } : { user: m.value };
      this.believe(token, true);
      this.token = token;
      return this.transition({ identity: m.baseVersion + 1 });
    }
    /** The token's identity at this moment: an expired token ends the session. */
    believe(token, authUpdateAttempted) {
      try { return deps.authenticate(token); } catch (e) {
        if (e.status !== 401) throw e;
        stats.authErrors++;
        throw new End({ type: "AuthError", error: e.message, baseVersion: this.version.identity, authUpdateAttempted });
      }
    }
    modify(m) {
      this.expect("querySet", m.baseVersion);
      const removed = [];
      for (const { type, queryId, udfPath, args, journal } of m.modifications) {
        if (type === "Add") this.queries.set(queryId, { path: deps.parsePath(udfPath), args, journal: journal ?? null, last: null });
        else if (this.queries.delete(queryId)) removed.push({ type: "QueryRemoved", queryId });
      }
      return this.transition({ querySet: m.newVersion }, removed);
    }
    async call(m) {
      const { requestId } = m;
      const r = await deps.execute(m.type, deps.parsePath(m.udfPath), JSON.stringify(m.args), this.believe(this.token, false));
      const type = `${m.type}Response`, logLines = r.logs;
      if (r.err) return this.send({ type, requestId, success: false, result: deps.render(r.err), errorData: r.err.data, logLines });
      this.send({ type, requestId, success: true, result: r.ok, ts: m.type === "Mutation" ? encodeTs(tick()) : undefined, logLines });
      // The client holds the mutation's result back until it has seen a Transition past its ts.
      return this.transition({}, [], true);
    }

    /** Run one query; returns what the client must be told, or null if it already has that result. */
    async look(queryId, q, identity) {
      let { args } = q;
      // The journal keeps the end of a page where it was, so that pages neither overlap nor leave gaps while rows are added and removed.
      const page = args[0]?.paginationOpts;
      if (q.journal !== null && page && page.endCursor == null) args = [{ ...args[0], paginationOpts: { ...page, endCursor: JSON.parse(q.journal).endCursor } }];
      const r = await deps.execute("Query", q.path, JSON.stringify(args), identity, true);
      stats.queries++;
      if (q.journal === null && page && typeof r.ok?.continueCursor === "string") q.journal = JSON.stringify({ endCursor: r.ok.continueCursor });
      const result = r.err ? { errorMessage: deps.render(r.err), errorData: r.err.data } : { value: r.ok };
      const text = JSON.stringify(r.err ? [r.err.message, r.err.data] : r.ok);
      if (text === q.last) return null;
      q.last = text;
      stats.updates++;
      return { type: r.err ? "QueryFailed" : "QueryUpdated", queryId, ...result, logLines: r.logs, journal: q.journal };
    }
    async transition(change = {}, modifications = [], always = false) {
      let ts;
      await deps.snapshot(async () => {
        ts = tick();
        const identity = this.believe(this.token, false);
        for (const [id, q] of this.queries) { const m = await this.look(id, q, identity); if (m) modifications.push(m); }
      });
      if (modifications.length === 0 && Object.keys(change).length === 0 && !always) return;
      const from = this.version;
      this.version = { ...from, ...change, ts };
      stats.transitions++;
      this.send({ type: "Transition", startVersion: encodeVersion(from), endVersion: encodeVersion(this.version), modifications, serverTs: Date.now() });
    }
    /** Something was committed. Any number of commits during one run need only one more run. */
    async changed() {
      this.again = true;
      if (this.looking) return;
      this.looking = true;
      while (this.again) { this.again = false; await this.inTurn(() => this.transition()); }
      this.looking = false;
    }
  }
  return {
    stats,
    changed: () => { for (const s of sessions) if (s.queries.size) void s.changed(); },
    closeAll: () => { for (const s of sessions) s.ws.terminate(); },
  };
}
