// run.mjs: do the tests notice wrong code?  Small changes, one at a time, each judged by the tests that can see it:
// make mutants COUNT=400 SEED=1 [ONLY=c_src/outbox] [JOBS=2] [LIMIT_S=300] [UNITS=1] [V=1]     (README.md says more)
//
// A mutant is one change of one line (kinds.mjs).  It is *killed* when a test fails or takes four times as long as
// without it, *survived* when all pass; what does not compile is replaced by another.  equivalent.txt lists, with a
// reason, changes that change nothing one could test; open.txt says why no test sees some that survive.  Each job
// works in a copy of HEAD of its own (build/mutants/N).  The C code is one shared library there; a changed file
// becomes a small library that stands in front of it (shared.mk).  Which functions a test enters is noted once
// (reached.c), and only tests that enter the changed one are asked, quickest first.  A test that fails without any
// change ends the run: it would kill everything.

import { execFileSync, spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { sitesOf } from "./kinds.mjs";
import { casesOf, files, isOfBeam, programs, testsOf } from "./tests.mjs";

const ROOT = resolve(dirname(fileURLToPath(import.meta.url)), "../..");
const WORK = join(ROOT, "build/mutants");
const number = (name, fallback) => Number(process.env[name] || fallback);
const COUNT = number("COUNT", 400), SEED = number("SEED", 1), JOBS = number("JOBS", 2), LIMIT_MS = 1000 * number("LIMIT_S", 300);
const ONLY = process.env.ONLY ?? "";

// mulberry32: the same SEED draws the same mutants from the same tree
let state = SEED >>> 0;
const random = () => {
  state = (state + 0x6d2b79f5) >>> 0;
  let t = Math.imul(state ^ (state >>> 15), 1 | state);
  t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
  return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
};

function shuffled(list) {
  for (let i = list.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [list[i], list[j]] = [list[j], list[i]];
  }
  return list;
}

// ---- commands ------------------------------------------------------------------------------------

// What tests keep on a disk lies in memory here: thousands of synced commits would measure the disk.
const QUICK = existsSync("/dev/shm") ? { TMPDIR: "/dev/shm" } : {};
const running = new Set();
// Check gives each test a process group of its own; all are of the session.
const end = (child) => { try { execFileSync("pkill", ["-KILL", "-s", String(child.pid)]); } catch { /* ended by itself */ } };
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => { running.forEach(end); process.exit(130); });

// Run a command in `cwd`; resolves to {ok, late, out, ms}.  It is ended with all it has started.
function run(cwd, command, limitMs, env = {}) {
  return new Promise((done) => {
    const began = Date.now();
    const child = spawn("sh", ["-c", command], { cwd, detached: true, stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...QUICK, DIST_NODE: join(cwd, "build/shared/dist_node"), ...env } });
    let out = "", late = false;
    running.add(child);
    const timer = setTimeout(() => { late = true; end(child); }, limitMs);
    for (const stream of [child.stdout, child.stderr]) stream.on("data", (d) => { if (out.length < 100_000) out += d; });
    child.on("exit", (status) => { clearTimeout(timer); end(child); running.delete(child); done({ ok: status === 0 && !late, late, out, ms: Date.now() - began }); });
  });
}

const git = (...args) => execFileSync("git", args, { cwd: ROOT, encoding: "utf8", maxBuffer: 1 << 28 });

// ---- a tree of its own a job ---------------------------------------------------------------------

class Tree {
  constructor(n) { this.dir = join(WORK, String(n)); }

  checkout() {
    if (!existsSync(this.dir)) execFileSync("git", ["clone", "-q", ROOT, this.dir]);
    execFileSync("git", ["-C", this.dir, "fetch", "-q", "origin"]);
    execFileSync("git", ["-C", this.dir, "checkout", "-q", "-f", "--detach", git("rev-parse", "HEAD").trim()]);
  }

  // The libraries and the programs, made here or taken from `other`, where they were just made.
  async prepare(other) {
    if (other) await this.must(`mkdir -p build && cp -au '${other.dir}/build/.' build/ && cp -a '${other.dir}/priv/convex_sidecar' priv/`);
    await this.must("rm -f build/shared/libmutant.so");
    await this.must(`make -s -j${JOBS} -f test/mutants/shared.mk programs && cp build/shared/libmutant.so build/shared/libmutant.none`);
    const { out } = await this.must("make -s -f test/mutants/shared.mk commands");
    [this.compile, this.program, this.link] = out.trim().split("\n");
  }

  // What the tests of the BEAM and of TypeScript want beside, when the first of them is asked.
  other() {
    const modules = join(ROOT, "test/convex/node_modules");
    return (this.others ??= this.must(`{ [ -e test/convex/node_modules ] || cp -a '${modules}' test/convex/; } && SIDECAR_PREBUILT=1 MIX_ENV=test mix compile`));
  }

  async must(command) {
    const said = await run(this.dir, command, 3_600_000);
    if (!said.ok) throw new Error(`${this.dir}: "${command}" fails without any change:\n${said.out.slice(-3000)}`);
    return said;
  }

  // "anew P" is a program that includes the file it tests: it is compiled before it is run.
  async test(test, limitMs, env) {
    if (/^(TEST_NAME=\w+ )?build\//.test(test)) return run(this.dir, test, limitMs, env);
    if (test.startsWith("anew ")) return run(this.dir, `${this.program} -o build/shared/anew ${test.slice(5).replace("build/shared", "test/unit")}.c ${this.link} && build/shared/anew`, limitMs + 60_000, env);
    await this.other();
    return run(this.dir, test, limitMs, env);
  }

  write(file, text) { writeFileSync(join(this.dir, file), text); }

  build(file) {
    if (!file.endsWith(".c")) return /\.(erl|ex)$/.test(file) ? "SIDECAR_PREBUILT=1 MIX_ENV=test mix compile --no-deps-check" : "true";
    return `${this.compile} -shared -o build/shared/libmutant.new ${file} && mv -f build/shared/libmutant.new build/shared/libmutant.so`;
  }

  async restore(file) {
    this.write(file, texts.get(file));
    if (file.endsWith(".c")) await this.must("cp build/shared/libmutant.none build/shared/libmutant.new && mv -f build/shared/libmutant.new build/shared/libmutant.so");
  }

  // {verdict: "killed", "survived" or "invalid", by}.  What was late, or failed in a test of the real program, is
  // asked once more: a machine that is busy must kill nobody.
  async judge(site, lines, tests) {
    if (!site.file.endsWith(".c")) await this.other();
    this.write(site.file, lines.with(site.line, site.text).join("\n"));
    try {
      const built = await run(this.dir, this.build(site.file), LIMIT_MS);
      if (!built.ok) return { verdict: "invalid" };
      for (const test of tests) {
        const limit = Math.max(10_000, 4 * reached.tests.get(test.replace("anew ", "")).ms);
        let { ok, late } = await this.test(test, limit);
        if (!ok && (late || isOfBeam(test))) ({ ok, late } = await this.test(test, 2 * limit));
        if (!ok) return { verdict: "killed", by: late ? `${test} (too long)` : test };
      }
      return { verdict: "survived", by: tests.length ? "" : "no test enters it" };
    } finally {
      await this.restore(site.file);
    }
  }

  // Run the test without a change, and note how long it takes and what it enters.  One of three tries has to pass.
  async unchanged(test, tries = 3, limitMs = LIMIT_MS) {
    const note = join(this.dir, "build/reached");
    rmSync(note, { force: true });
    const { ok, late, out, ms } = await this.test(test, limitMs, { MUTANTS_REACHED: note });
    if (!ok && tries > 1) return this.unchanged(test, tries - 1, limitMs);
    if (!ok) throw new Error(`"${test}" ${late ? "takes longer than LIMIT_S" : "fails"} without any change:\n${out.slice(-2000)}`);
    const entered = {};
    if (existsSync(note)) {
      const bytes = readFileSync(note);
      for (let at = bytes.indexOf(1); at >= 0; at = bytes.indexOf(1, at + 1)) if (symbols.has(at)) (entered[symbols.get(at)[0]] ??= []).push(symbols.get(at)[1]);
    }
    return { of: noteOf(this, test), ms, entered: Object.keys(entered).length ? entered : undefined };
  }
}

// ---- what the tests enter ------------------------------------------------------------------------

// Of the library of `tree`: where each function begins: Map of address -> [file, line of its {, or of its name].
function symbolsOf(tree) {
  const options = { cwd: tree.dir, encoding: "utf8", maxBuffer: 1 << 28 };
  const symbols = execFileSync("nm", ["--defined-only", "build/shared/libsidecar.so"], options).split("\n").filter((l) => / t /i.test(l)).map((l) => l.split(" "));
  const places = execFileSync("addr2line", ["-e", "build/shared/libsidecar.so"], { ...options, input: symbols.map(([address]) => address).join("\n") }).trim().split("\n");
  const sources = new Map();
  const lineOf = (file, line) => {
    if (!sources.has(file)) sources.set(file, existsSync(join(tree.dir, file)) ? readFileSync(join(tree.dir, file), "utf8").split("\n") : []);
    return sources.get(file)[line - 1] ?? "";
  };
  return new Map(symbols.map(([address, , name], n) => {
    const [path, line] = places[n].split(":"), file = path.replace(/^.*?c_src\//, "c_src/");
    return [parseInt(address, 16), [file, parseInt(line, 10), name]];
  }).filter(([, [file, line, name]]) => lineOf(file, line) === "{" || lineOf(file, line).includes(name)));
}

// What was noted of a test is kept (reached.json) until the code of C or the test changes.
const notes = join(WORK, "reached.json"), SLOW_MS = 2000;
const reached = { tests: new Map(), functions: {} };
const keep = () => writeFileSync(notes, JSON.stringify([...reached.tests]));
const programOf = (test) => test.match(/build\/shared\/\S+/)?.[0] ?? ".";
const sha = (tree, file) => createHash("sha1").update(readFileSync(join(tree.dir, file))).digest("hex");
const TESTS_OF_BEAM = ["src", "lib", "test/beam", "test/support"].map((dir) => git("rev-parse", `HEAD:${dir}`).trim()).join(" ");
const noteOf = (tree, test) => `${sha(tree, "build/shared/libsidecar.so")} ${isOfBeam(test) ? TESTS_OF_BEAM : test.includes("build/shared") ? sha(tree, programOf(test)) : ""}`;

function loadNotes() {
  const old = existsSync(notes) ? JSON.parse(readFileSync(notes, "utf8")) : [];
  const isThere = (test) => isOfBeam(test) || existsSync(join(trees[0].dir, programOf(test)));
  reached.tests = new Map(old.filter(([test, { of }]) => !isThere(test) || of === noteOf(trees[0], test)));
}

async function noteReached() {
  const missing = programs(trees[0].dir).filter((test) => !reached.tests.has(test));
  if (missing.length > 0) console.log(`${missing.length} programs of tests have to be looked at first`);
  const share = async (tree) => {
    for (let test; (test = missing.shift()); keep()) {
      // Of a slow one, each test by itself.
      const names = casesOf(trees[0].dir, test);
      const note = await (names.length > 1 ? tree.unchanged(test, 1, 5 * SLOW_MS).catch(() => undefined) : tree.unchanged(test));
      const parts = !note || note.ms > SLOW_MS ? names : [];
      let ms = 0;
      for (const name of parts) {
        if (!reached.tests.has(name)) reached.tests.set(name, await tree.unchanged(name));
        ms += reached.tests.get(name).ms;
        keep();
      }
      reached.tests.set(test, { ...(note ?? { of: noteOf(tree, test), ms }), cases: parts.length ? parts : undefined });
    }
  };
  await Promise.all(trees.map(share));
}

// ---- what is known -------------------------------------------------------------------------------

// Each entry: file, the line as it is and as it would be (both trimmed), and why: four lines, then an empty one.
function reasons(name) {
  const entries = readFileSync(join(ROOT, "test/mutants", name), "utf8").split(/\n\s*\n/).filter((e) => e.trim() && !e.startsWith("#"));
  return new Map(entries.map((entry) => {
    const [file, was, is, why, more] = entry.trim().split("\n");
    if (!why || more) throw new Error(`test/mutants/${name}: an entry has four lines, and an empty one after it:\n${entry}`);
    return [[file, was.trim(), is.trim()].join("\n"), why];
  }));
}

// ---- all together --------------------------------------------------------------------------------

const folderOf = (file) => (file.startsWith("c_src/") ? file.split("/").slice(0, 2).join("/") : dirname(file));
const changed = git("status", "--porcelain", "--", "c_src", "src", "lib", "priv/convex", "test").trim();
if (changed) { console.error(`mutants: commit first; the copies are made of HEAD:\n${changed}`); process.exit(2); }

const equivalent = reasons("equivalent.txt"), open = reasons("open.txt");
const only = ONLY.split(/[ ,]+/);
const texts = new Map(files(ROOT).filter((f) => only.some((o) => f.startsWith(o))).map((file) => [file, readFileSync(join(ROOT, file), "utf8")]));
const sites = shuffled([...texts].flatMap(([file, text]) => sitesOf(file, text).map((site) => ({ file, ...site }))));
mkdirSync(WORK, { recursive: true });
const trees = Array.from({ length: JOBS }, (_, n) => new Tree(n + 1));
console.log(`${sites.length} places where one line can be changed; ${Math.min(COUNT, sites.length)} of them, SEED=${SEED}`);
let symbols = new Map();
trees.forEach((tree) => tree.checkout());
if ([...texts.keys()].some((file) => file.endsWith(".c"))) {
  for (const tree of trees) await tree.prepare(tree === trees[0] ? undefined : trees[0]);
  symbols = symbolsOf(trees[0]);
  if (symbols.size === 0) throw new Error("no function of the library is known by its line: is there no debugging information?");
  for (const [file, line] of symbols.values()) (reached.functions[file] ??= []).push(line);
  loadNotes();
  await noteReached();
} else {
  for (const tree of trees) await tree.must("make -s -f test/mutants/shared.mk build/shared/convex_sidecar build/shared/dist_node");
  loadNotes();
}

const tally = {}, survivors = [];
let judged = 0, next = 0;
const count = (file, what) => { const t = (tally[folderOf(file)] ??= { killed: 0, survived: 0, equivalent: 0 }); t[what]++; };
const checked = new Map(); // test -> promise: it passes without any change
const began = Date.now();

// A test that was not asked yet is run without any change first.
async function known(tree, test) {
  if (reached.tests.has(test.replace("anew ", ""))) return;
  if (!checked.has(test)) checked.set(test, tree.unchanged(test).then((note) => { reached.tests.set(test, note); keep(); }));
  await checked.get(test);
}

async function work(tree) {
  while (judged < COUNT && next < sites.length) {
    const site = sites[next++];
    const key = [site.file, site.was.trim(), site.text.trim()].join("\n");
    judged++;
    if (equivalent.has(key)) { count(site.file, "equivalent"); continue; }
    const lines = texts.get(site.file).split("\n");
    for (const test of testsOf(site, lines, tree.dir, reached)) await known(tree, test);
    // Once more: what was noted now may leave some out.
    const { verdict, by } = await tree.judge(site, lines, testsOf(site, lines, tree.dir, reached));
    if (verdict === "invalid") { judged--; continue; }
    count(site.file, verdict);
    const what = `${site.file}:${site.line + 1} (${site.kind})`;
    if (verdict === "killed") { if (process.env.V) console.log(`killed ${what} by ${by}`); continue; }
    const said = `${what}\n  - ${site.was.trim()}\n  + ${site.text.trim()}`;
    if (process.env.V) console.log(`survived ${said}`);
    survivors.push(`${said}\n  ${open.get(key) ?? (by || "no reason is known: it wants a test")}`);
  }
}
await Promise.all(trees.map(work));

const sum = { killed: 0, survived: 0, equivalent: 0 };
const share = (t) => (t.killed + t.survived ? (100 * t.killed) / (t.killed + t.survived) : 100);
const row = (name, t, more = "") => console.log(`${name.padEnd(36)} ${String(t.killed).padStart(6)} ${String(t.survived).padStart(8)} ${String(t.equivalent).padStart(10)} ${String(Math.floor(share(t))).padStart(18)} %${more}`);
if (survivors.length) console.log(`\nSurvivors:\n${survivors.sort().join("\n")}`);
console.log(`\n${"folder".padEnd(36)} killed survived equivalent   killed of the rest`);
for (const [folder, t] of Object.entries(tally).sort()) {
  for (const k in sum) sum[k] += t[k];
  row(folder, t);
}
row("all", sum, `   in ${Math.round((Date.now() - began) / 60_000)} min`);
process.exit(share(sum) >= 90 && Object.values(tally).every((t) => share(t) >= 80) ? 0 : 1);
