"use strict";
// Asks /status every two seconds and /history every ten, and shows what they say.
(() => {
  const $ = (id) => document.getElementById(id);
  const make = (tag, className, text) => {
    const e = document.createElement(tag);
    if (className) e.className = className;
    if (text !== undefined) e.textContent = text;
    return e;
  };
  const svg = (tag, attributes) => {
    const e = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
    return e;
  };
  // `words` of the command line stand out; a sidecar's own sentences name two of them bare.
  const worded = (text) => text.split("`").map((part, i) => (i % 2 ? make("code", "", part) : document.createTextNode(part)));
  const putWords = (id, text) => {
    const e = $(id);
    if (e.textContent !== text.replaceAll("`", "")) e.replaceChildren(...worded(text));
    e.hidden = text === "";
  };
  const asTyped = (text) => (text.includes("`") ? text : text.replace(/(^|[,;:] )(resume|reload)(?= |$)/g, "$1`convex_sidecar $2`"));
  const put = (id, text) => { const e = $(id); if (e.textContent !== text) e.textContent = text; e.hidden = text === ""; };

  // ---- how numbers read
  const round = (v) => String(+(v >= 100 ? v.toFixed(0) : v >= 10 ? v.toFixed(1) : v >= 1 ? v.toFixed(2) : v.toPrecision(2)));
  const count = (v) => Math.round(v).toLocaleString("en");
  const rate = (v) => (v >= 100 ? count(v) : v >= 10 || v === 0 ? String(+v.toFixed(1)) : v.toFixed(1));
  const time = (s) => (s <= 0 ? "–" : s < 0.001 ? `${count(s * 1e6)} µs` : s < 1 ? `${round(s * 1000)} ms` : s < 120 ? `${round(s)} s` : s < 7200 ? `${count(s / 60)} min` : `${count(s / 3600)} h`);
  const bytes = (v) => { let i = 0; while (v >= 1024 && i < 4) { v /= 1024; i++; } return `${round(v)} ${["B", "KiB", "MiB", "GiB", "TiB"][i]}`; };
  const clock = (date, seconds) => date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: seconds ? "2-digit" : undefined });
  const when = (text) => { const d = new Date(text), today = new Date().toDateString() === d.toDateString(); return today ? clock(d, true) : `${d.toLocaleDateString()} ${clock(d)}`; };
  const plural = (n, one, many) => `${count(n)} ${n === 1 ? one : many}`;

  // ---- the sentence
  const words = { running: "Running", waiting: "Waiting", stopped: "Stopped", paused: "Paused" };
  function tone(s) {
    if (!s.store_ok || s.state === "stopped") return "bad";
    if (s.kinds.some((k) => k.state === "stopped")) return "bad";
    if (doubt(s) || s.kinds.length || s.state === "waiting" || s.state === "paused" || s.draining || s.metrics.dead_letters > 0) return "wait";
    return "good";
  }
  function sentence(s) {
    const m = s.metrics;
    if (!s.store_ok) return "The store fails: nothing new is taken, and callers are told so.";
    const since = `since ${when(s.since)}`;
    const waits = !m.pending ? "" : s.state === "running" && !m.oldest_pending_age_seconds ? plural(m.pending, "document is on its way", "documents are on their way")
      : `${plural(m.pending, "document waits", "documents wait")}, the oldest for ${m.oldest_pending_age_seconds ? time(m.oldest_pending_age_seconds) : "under 1 s"}`;
    if (s.draining) return `Draining ${since}: nothing new is taken. ${waits ? waits + "." : "All is delivered."}`;
    if (s.state === "running") {
      if (!m.kept_total && !m.pending && !m.checkpoints) return `Running ${since}: no document has come yet.`;
      if (doubt(s)) return `Mending since ${when(doubt(s).since)}: ${doubtful(s)}.`;
      const held = s.kinds.length ? `${s.kinds.map((k) => `${k.kind} is ${k.state}`).join(", ")}; ` : "";
      return `Running ${since}: ${held}${waits || (s.sink === "noop" ? "all that was kept is confirmed, and written nowhere" : "all that was kept is delivered")}${m.dead_letters ? `, but ${plural(m.dead_letters, "document was", "documents were")} refused` : ""}.`;
    }
    return `${words[s.state] ?? s.state} ${since}: ${waits || "nothing waits"}.`;
  }
  // A new destination lacks what the one before had confirmed: that is doubtful, and written again (docs/REBUILD.md).
  let most = 0;
  const doubt = (s) => s.destination?.doubt ?? null;
  function doubtful(s) {
    const { documents, documents_without_log: rest, counted } = doubt(s), { swept_by: by, eta_s: eta } = s.destination;
    const left = counted ? plural(documents + rest, "document may be gone there", "documents may be gone there") : "what may be gone there is being counted";
    return `${left}${rest ? `, ${count(rest)} of them without an event log` : ""}${eta > 0 ? `, about ${time(eta)} left` : ""}${by ? `; ${by} sends them again` : ""}`;
  }
  function mend(s) {
    const { documents, documents_without_log: rest } = doubt(s);
    if (documents && !s.destination.swept_by) return "nothing, once a VM with the event log is connected: it is asked to send them again";
    if (rest && !documents) return "`convex_sidecar status` names the first without an event log; send those again yourself";
    return "nothing: it goes on by itself, beside what is new";
  }
  function todo(s) {
    if (s.next) return s.next;
    if (doubt(s)) return mend(s);
    if (s.metrics.dead_letters) return "`convex_sidecar dead list` names them and says why; `dead retry --all` sends them again";
    return "";
  }

  // ---- tiles
  const tiles = new Map();
  function tile(name, value, more = "", mood = "") {
    if (!tiles.has(name)) {
      const li = make("li"), parts = [make("span", "name", name), make("span", "value"), make("span", "more")];
      li.append(...parts);
      $("tiles").append(li);
      tiles.set(name, [li, ...parts.slice(1)]);
    }
    const [li, v, m] = tiles.get(name);
    if (v.textContent !== value) v.textContent = value;
    if (m.textContent !== more) m.textContent = more;
    li.className = mood;
  }
  let last = null;
  const risen = (s, key, seconds) => (last && last.started_at === s.started_at && seconds > 0 ? Math.max(0, s.metrics[key] - last.metrics[key]) / seconds : 0);

  function showStatus(s) {
    const m = s.metrics, now = performance.now(), seconds = last ? (now - last.at) / 1000 : 0, mood = tone(s);
    document.documentElement.className = mood;
    const held = s.state === "running" ? s.kinds.find((k) => k.state === "stopped") ?? s.kinds[0] : null;
    const word = !s.store_ok ? "store fails" : s.draining ? "draining" : held ? `kind ${held.state}` : s.state !== "running" ? s.state : doubt(s) ? "mending" : m.dead_letters ? "dead letters" : s.state;
    put("badge", `${{ good: "✓", wait: "…", bad: "!" }[mood]} ${word}`);
    put("node", s.node);
    document.title = `${mood === "good" ? "" : "● "}${word} – ${s.node}`;
    put("what", sentence(s));
    putWords("why", held ? `${held.kind}: ${held.why}` : s.why || (doubt(s)?.why ?? ""));
    const left = doubt(s)?.documents ?? 0; // how many there were is what this page saw
    most = left ? Math.max(most, left) : 0;
    $("mended").hidden = !left;
    $("mended").value = most ? (most - left) / most : 0;
    putWords("next", asTyped(held?.next || todo(s)));
    tile("pending", count(m.pending), m.pending ? `oldest ${m.oldest_pending_age_seconds ? time(m.oldest_pending_age_seconds) : "under 1 s"}` : "nothing waits", m.oldest_pending_age_seconds >= 60 ? "wait" : "");
    tile("kept a second", rate(risen(s, "kept_total", seconds)), `${count(m.kept_total)} since the start`);
    tile("delivered a second", rate(risen(s, "delivered_total", seconds)), `${count(m.delivered_total)} since the start`);
    for (const [name, key] of [["call to Convex", "call_seconds"], ["kept to confirmed", "kept_to_confirmed_seconds"], ["append to confirmed", "append_to_confirmed_seconds"]]) {
      const { p50, p99 } = s.times[key];
      tile(name, time(p50), p99 ? `median; p99 ${time(p99)}` : "none yet");
    }
    tile("dead letters", count(m.dead_letters), m.dead_letters ? "refused by Convex" : "none refused", m.dead_letters ? "bad" : "");
    const used = (m.pending_bytes + m.dead_letter_bytes) / m.store_limit_bytes;
    tile("room used", used > 0.005 ? `${Math.round(100 * used)} %` : used > 0 ? "under 1 %" : "0 %", `of ${bytes(m.store_limit_bytes)} in the store`, used > 0.8 ? "wait" : "");
    showFacts([
      ["Destination", s.sink === "http" ? `${s.base_url}${s.deployment ? `, deployment ${s.deployment}` : ""}` : s.sink === "noop" ? "none: documents are confirmed and written nowhere" : s.sink],
      ...s.kinds.filter((k) => k !== held).map((k) => [`Kind ${k.kind}`, `${k.state} since ${when(k.since)}: ${k.why}${k.next ? `. Next: ${k.next}` : ""}`]),
      ["Goes as", s.sink !== "http" ? "" : s.batching ? `many documents a call (${s.batch_mutation})` : "one document a call"],
      ["Calls", `${count(m.calls_in_flight)} of ${count(m.concurrency_limit)} allowed are under way; ${plural(m.retried_total, "document was", "documents were")} sent again`],
      ["BEAM nodes", `${count(m.peers)} connected${s.published ? "" : "; epmd does not have this node's name, none can connect"}`],
      ["Store", `${s.store}: ${plural(m.checkpoints, "document", "documents")} known, commit p99 ${time(s.times.commit_seconds.p99)}`],
      ["Audit", m.audit_checked ? `${plural(m.audit_checked, "document", "documents")} compared, ${m.audit_findings ? `${count(m.audit_findings)} differ` : "none differs"}` : "none since the start"],
      ["Version", `${s.version}, process ${s.pid}, started ${when(s.started_at)}`],
    ]);
    showKinds(s, seconds);
    showTroubled(s);
    last = { ...s, at: now };
  }
  // ---- what came of each kind, the busiest first
  function showKinds(s, seconds) {
    const was = (kind) => (last && last.started_at === s.started_at && last.by_kind.find((k) => k.kind === kind)?.taken) || 0;
    const rows = s.by_kind.map((k) => ({ ...k, state: s.kinds.find((held) => held.kind === k.kind)?.state ?? s.state, rate: last && seconds > 0 ? Math.max(0, k.taken - was(k.kind)) / seconds : 0 }));
    rows.sort((a, b) => b.rate - a.rate || b.taken - a.taken || (a.kind < b.kind ? -1 : 1));
    $("kinds").hidden = !rows.length;
    $("kinds").querySelector("tbody").replaceChildren(...rows.map((k) => {
      const tr = make("tr");
      tr.append(make("td", "", k.kind), make("td", { running: "", stopped: "bad" }[k.state] ?? "wait", k.state), make("td", "", rate(k.rate)), make("td", "", count(k.taken)), make("td", "", count(k.skipped)));
      return tr;
    }));
  }
  // ---- documents that are not delivered, with their reasons
  function showDocuments(id, list, rest) {
    const section = $(id);
    section.hidden = list.length === 0 && rest === "";
    section.querySelector("ol").replaceChildren(...list.map((d, i) => {
      const li = make("li");
      const said = make("span", "said");
      said.append(...worded(i && d.why === list[i - 1].why ? "the same" : d.why));
      li.append(make("span", "id", d.document_id), said, make("span", "when", d.died_at ? `${when(d.died_at)}${d.next_try_at ? `, again ${when(d.next_try_at)}` : ""}` : ""));
      return li;
    }));
    put_(section.querySelector(".rest"), rest);
  }
  const put_ = (e, text) => { if (e.textContent !== text) e.textContent = text; };
  function showLetters(list) {
    const all = last.metrics.dead_letters, more = all - list.length;
    if (!all) showDocuments("letters", [], "");
    else if (!list.length) showDocuments("letters", [], `${plural(all, "document", "documents")}; with observe.details = on this page names them and says why.`);
    else showDocuments("letters", list, more > 0 ? `and ${count(more)} more` : "");
  }
  function showTroubled(s) {
    const all = s.documents_alone + s.documents_searched, more = all - s.documents.length;
    if (!all || !s.documents.length) showDocuments("troubled", [], "");
    else showDocuments("troubled", s.documents, more > 0 ? `and ${count(more)} more; each travels alone` : "each travels alone, and holds up no other");
  }

  function showFacts(rows) {
    const list = $("list"), shown = rows.filter(([, text]) => text);
    if (list.children.length !== 2 * shown.length) { list.replaceChildren(); for (let i = 0; i < shown.length; i++) list.append(make("dt"), make("dd")); }
    shown.forEach(([name, text], i) => {
      const [dt, dd] = [list.children[2 * i], list.children[2 * i + 1]];
      if (dt.textContent !== name) dt.textContent = name;
      if (dd.textContent !== text) dd.textContent = text;
    });
  }

  // ---- the hour
  const W = 290, H = 112;
  const charts = [
    { id: "rates", title: "Documents a second", unit: rate, lines: [["delivered", "delivered"], ["kept", "kept"]], floor: 1, area: true },
    { id: "times", title: "Kept to confirmed", unit: time, lines: [["p99", "confirmed_p99"], ["p50", "confirmed_p50"]], decades: true, gaps: true },
    { id: "waiting", title: "Waiting", unit: count, lines: [["pending", "pending"], ["dead letters", "dead"]], floor: 4, area: true },
  ];
  const nice = (v) => { const p = 10 ** Math.floor(Math.log10(v)); return [1, 1.5, 2, 3, 4, 5, 6, 8, 10].map((k) => k * p).find((k) => k >= v * 0.999); };
  /** From where to where the chart reaches, its lines, and the share of the height that a value has. */
  function scale(c, values) {
    if (!c.decades) {
      const top = nice(Math.max(c.floor, ...values));
      return { ticks: c.unit === count && top % 2 ? [0, top] : [0, top / 2, top], share: (v) => v / top };
    }
    const seen = values.filter((v) => v > 0), least = seen.length ? Math.min(...seen) : 0.01;
    const from = Math.floor(Math.log10(least)), to = Math.max(from + 2, Math.ceil(Math.log10(Math.max(...seen, least)))), step = to - from > 4 ? 2 : 1;
    const ticks = [];
    for (let e = from; e <= to; e += step) ticks.push(10 ** e);
    return { ticks, share: (v) => Math.max(0, (Math.log10(v) - from) / (to - from)) };
  }
  let hour = null, cursor = null;

  function draw(c) {
    const figure = $(c.id), { at, samples, step_s: step, span } = hour, end = samples.length ? samples.at(-1)[0] : 0;
    const x = (t) => W - ((end - t) / span) * W;
    const values = c.lines.map(([, key]) => samples.map((r) => r[at[key]]));
    const { ticks, share } = scale(c, values.flat());
    const y = (v) => H - share(v) * H;
    const i = cursor === null ? samples.length - 1 : Math.min(Math.max(cursor, 0), samples.length - 1);
    const caption = make("figcaption");
    caption.append(make("b", "", c.title));
    c.lines.forEach(([name], k) => caption.append(make("span", `key ${k ? "two" : ""}`, `${name} ${samples.length ? c.unit(values[k][i]) : "–"}`)));
    if (samples.some((r) => r[at.stopped])) caption.firstChild.append(make("span", "key halted", "stood still"));
    if (cursor !== null && samples.length) caption.append(make("span", "at", clock(new Date(samples[i][0] * 1000), true)));
    if (samples.length < 2) {
      figure.replaceChildren(caption, make("p", "empty", `The hour fills from now on: a point every ${step} s.`));
      return;
    }
    const picture = svg("svg", { viewBox: `-44 -8 ${W + 52} ${H + 28}`, "aria-hidden": "true" });
    const label = (text, px, py, anchor) => { const t = svg("text", { x: px, y: py, "text-anchor": anchor }); t.textContent = text; return t; };
    for (const v of ticks) {
      picture.append(svg("line", { class: "grid", x1: 0, x2: W, y1: y(v), y2: y(v) }));
      picture.append(label(v ? c.unit(v) : "0", -6, y(v) + 4, "end"));
    }
    for (const ago of [span, span / 2]) picture.append(label(`${ago / 60} min`, x(end - ago), H + 16, ago === span ? "start" : "middle"));
    picture.append(label("now", W, H + 16, "end"));
    samples.forEach((r) => { if (r[at.stopped]) picture.append(svg("rect", { class: "halt", x: x(r[0] - step), width: (step / span) * W, y: 0, height: H })); });
    values.forEach((v, k) => {
      let path = "", pen = false;
      v.forEach((value, n) => {
        const cut = (n && samples[n][0] - samples[n - 1][0] > 3 * step) || (c.gaps && !value);
        if (c.gaps && !value) { pen = false; return; }
        path += `${pen && !cut ? "L" : "M"}${x(samples[n][0]).toFixed(1)} ${y(value).toFixed(1)}`;
        if (!pen || cut) path += `l.01 0`;
        pen = true;
      });
      if (c.area && k === 0 && path) picture.append(svg("path", { class: "area", d: `${path.replace(/l\.01 0/g, "").replace(/(?!^)M/g, "L")}L${x(end).toFixed(1)} ${H}L${x(samples[0][0]).toFixed(1)} ${H}Z` }));
      picture.append(svg("path", { class: k ? "two" : "one", d: path }));
    });
    if (cursor !== null) picture.append(svg("line", { class: "cursor", x1: x(samples[i][0]), x2: x(samples[i][0]), y1: 0, y2: H }));
    figure.replaceChildren(caption, picture);
    figure.setAttribute("aria-label", `${c.title}, the last ${span / 60} minutes. ${c.lines.map(([name], k) => `${name}: now ${c.unit(values[k].at(-1))}, at most ${c.unit(Math.max(...values[k]))}`).join(". ")}. Arrow keys move through it.`);
  }
  const drawAll = () => { if (hour) charts.forEach(draw); };

  function move(to) { cursor = to; drawAll(); }
  for (const c of charts) {
    const figure = $(c.id);
    figure.setAttribute("role", "img");
    figure.addEventListener("pointermove", (e) => {
      const box = figure.querySelector("svg")?.getBoundingClientRect();
      if (!box || !hour.samples.length) return;
      const zoom = Math.min(box.width / (W + 52), box.height / (H + 28));
      const px = (e.clientX - box.left - (box.width - (W + 52) * zoom) / 2) / zoom - 44;
      const t = hour.samples.at(-1)[0] - ((W - px) / W) * hour.span;
      let best = 0;
      hour.samples.forEach((r, n) => { if (Math.abs(r[0] - t) < Math.abs(hour.samples[best][0] - t)) best = n; });
      move(best);
    });
    figure.addEventListener("pointerleave", () => move(null));
    figure.addEventListener("blur", () => move(null));
    figure.addEventListener("keydown", (e) => {
      const n = hour ? hour.samples.length : 0, from = cursor ?? n - 1;
      const to = { ArrowLeft: from - 1, ArrowRight: from + 1, Home: 0, End: n - 1, PageUp: from - 30, PageDown: from + 30 }[e.key];
      if (e.key === "Escape") move(null);
      if (to === undefined || !n) return;
      e.preventDefault();
      move(Math.min(Math.max(to, 0), n - 1));
    });
  }

  function showHistory(h) {
    const at = Object.fromEntries(h.columns.map((name, i) => [name, i]));
    const samples = h.samples.filter((r) => h.samples.at(-1)[0] - r[0] <= 3600);
    const covered = samples.length ? samples.at(-1)[0] - samples[0][0] : 0; // as wide as what there is, up to the hour
    hour = { at, samples, step_s: h.step_s, span: [600, 1200, 2400].find((s) => s >= covered) ?? 3600 };
    drawAll();
    $("lines").hidden = h.log === null;
    if (h.log === null) return;
    const list = $("log"), atEnd = list.scrollTop + list.clientHeight >= list.scrollHeight - 4;
    list.replaceChildren(...h.log.map(([t, text]) => make("li", text.split(" ")[0], `${clock(new Date(t), true)}  ${text}`)));
    if (atEnd) list.scrollTop = list.scrollHeight;
  }

  // ---- asking
  let heard = null;
  async function ask(path, show) {
    try {
      const answer = await fetch(path, { cache: "no-store", signal: AbortSignal.timeout(5000) });
      if (!answer.ok) throw new Error(`${path} answers ${answer.status}`);
      show(await answer.json());
      heard = new Date();
      put("link", `live, ${clock(heard, true)}`);
      $("link").className = "";
    } catch (e) {
      put("link", heard ? `no answer since ${clock(heard, true)}; asking again` : `no answer; asking again`);
      $("link").className = "away";
      put("badge", "? no answer");
      document.documentElement.className = "away";
      if (path !== "/status") return;
      put("what", heard ? `No answer since ${clock(heard, true)}: below is what it said last.` : "No answer yet.");
      put("why", "");
      putWords("next", "see whether it runs: `systemctl status convex_sidecar`, or the log of the VM that manages it");
      $("mended").hidden = true;
    }
  }
  let turn = 0;
  async function look() {
    if (!document.hidden) {
      await ask("/status", showStatus);
      if (turn++ % 5 === 0 || !hour) await ask("/history", showHistory);
      if (last && (last.metrics.dead_letters || !$("letters").hidden)) await ask("/dead", showLetters);
    }
    setTimeout(look, 2000);
  }
  document.addEventListener("visibilitychange", () => { turn = 0; });
  look();
})();
