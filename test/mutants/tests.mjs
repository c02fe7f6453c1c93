// tests.mjs: which files are changed, and which tests belong to each change.

import { existsSync, readFileSync, readdirSync } from "node:fs";
import { basename, dirname, join } from "node:path";

const TREES = [["c_src", ".c"], ["src", ".erl"], ["lib/openagents_runtime", ".ex"], ["priv/convex", ".ts"]];
// What is generated, what describes rather than does, what only a typechecker or a terminal reads.
const LEFT_OUT = [/_generated/, /priv\/convex\/(kinds|auth\.config|validators)\.ts$/, /c_src\/main\.c$/];

const walk = (root, dir) => readdirSync(join(root, dir), { withFileTypes: true }).flatMap((e) => (e.isDirectory() ? walk(root, `${dir}/${e.name}`) : [`${dir}/${e.name}`]));

// files(root): every file that may be changed, sorted.
export function files(root) {
  return TREES.flatMap(([dir, ext]) => walk(root, dir).filter((f) => f.endsWith(ext) && !LEFT_OUT.some((p) => p.test(f)))).sort();
}

// programs(root): every program of tests of the C code, as a command; with NAMED those whose name it matches.
export function programs(root) {
  return walk(root, "test/unit").filter((f) => f.endsWith("_test.c")).map((f) => f.replace("test/unit", "build/shared").slice(0, -2)).concat("build/shared/sim 300").filter((program) => new RegExp(process.env.NAMED ?? "").test(program));
}

// casesOf(root, program): each test of the program by itself.
export function casesOf(root, program) {
  const source = join(root, program.replace("build/shared", "test/unit") + ".c");
  return existsSync(source) ? [...readFileSync(source, "utf8").matchAll(/^TEST\((\w+)\)/gm)].map(([, name]) => `TEST_NAME=${name} ${program}`) : [];
}

const exs = (...names) => names.map((n) => `ERL_EPMD_PORT=$(tools/free-port) SIDECAR_PREBUILT=1 MIX_ENV=test mix test --max-failures 1 test/${n}_test.exs`);
const node = (name) => `tools/with-standin node test/convex/${name}.mjs`;
export const isOfBeam = (test) => test.includes("mix test");

// Tests of the real program, for what the programs of unit tests let live.
const C = {
  projection: ["protocol"], outbox: ["protocol"], delivery: ["protocol", "faults"], convex: ["tls", "protocol"], audit: ["audit"], intake: ["protocol"], dist: ["dist"],
  status: ["protocol"], sidecar: ["protocol", "faults"], cli: ["protocol", "operate"], config: ["protocol"], ground: ["protocol"],
};
// Beside those of its folder: for a command, the tests that use it.
const C_FILES = { cli_audit: ["audit"], cli_rebuild: ["rebuild"], cli_import: ["rebuild"] };
const ERLANG = {
  convex_sidecar_marks: ["beam/marks", "beam/conveyor", "beam/conveyor_model"],
  convex_sidecar_conveyor: ["beam/conveyor_clock", "beam/conveyor", "beam/conveyor_model"], convex_sidecar_batch: ["beam/source", "beam/conveyor"],
  convex_sidecar_looks: ["beam/looks_clock", "beam/looks", "beam/conveyor", "beam/conveyor_model"],
  convex_sidecar_source: ["beam/source", "beam/projector", "beam/conveyor", "beam/conveyor_model"],
  convex_sidecar_instance: ["beam/source", "beam/conveyor", "beam/client"], convex_sidecar_sweeper: ["beam/state_clock"], convex_sidecar_state: ["beam/state_clock", "beam/state"],
  convex_sidecar_epmd: ["beam/client", "beam/no_distribution"],
  convex_sidecar_port: ["beam/watch_clock", "beam/port"], convex_sidecar_watch: ["beam/watch_clock", "beam/watch", "beam/no_distribution"], convex_sidecar_config: ["beam/config", "beam/no_distribution"],
};
const ELIXIR = {
  projector: ["beam/projector", "beam/sidecars"], sink_queue: ["beam/sink_queue"], sidecars: ["beam/sidecars"], sidecar: ["beam/sidecar", "beam/config"],
  reprojection: ["beam/pieces", "beam/reprojection", "rebuild"], sql_event_log: ["beam/sql_event_log", "sql_log"], disk_event_log: ["beam/disk_event_log"],
  testing: ["beam/testing"], kinds: ["beam/kinds"], canonical_json: ["beam/pieces", "canonical"], audit: ["beam/pieces", "audit"], rebuild_state: ["beam/pieces", "beam/reprojection"],
  own_modules: ["beam/own_modules"], telemetry: ["beam/pieces", "beam/telemetry_metrics", "beam/projector", "beam/reprojection"], preflight: ["preflight"],
  sink: ["beam/kinds", "beam/projector"], sink_checkpoints: ["beam/pieces", "beam/projector"], summary: ["beam/pieces", "beam/projector", "canonical"],
  event_log: ["beam/pieces", "beam/projector", "beam/sidecar"], export: ["beam/pieces", "rebuild"], json_text: ["beam/pieces", "canonical"], running_node: ["beside", "rebuild"],
  source: ["beam/pieces", "beam/projector", "beam/sidecars"], convex: ["beam/sidecar"], sweep: ["beam/pieces", "otherside"], fanout_sink: ["beam/sidecar", "beam/kinds"],
};

// entryOf(lines, entries, line): the first line of the function that the line belongs to; undefined outside of all.
// entries: the first lines of the file's functions; all count from 1.
function entryOf(lines, entries, line) {
  const entry = Math.max(...entries.filter((e) => e <= line));
  if (!(entry > 0)) return undefined;
  const end = lines.findIndex((text, n) => n + 1 >= entry && /^}/.test(text)) + 1;
  return line <= end ? entry : undefined;
}

// Does the test include the file, so that it has to be compiled anew with it?  By way of test/sim.c as well.
function includes(tree, program, file) {
  const source = program.replace("build/shared", "test/unit") + ".c";
  return existsSync(join(tree, source)) && readFileSync(join(tree, source), "utf8").includes(`#include "${file.slice("c_src/".length)}"`);
}

// testsOf({file, line}, lines, tree, reached): shell commands, quickest first; each fails when it notices.
// reached: test -> {ms, entered: {file: [line of a function's name]}, all: the same of every function there is};
// a test that never enters the changed function is not asked.
export function testsOf({ file, line }, lines, tree, reached) {
  const name = basename(file).replace(/\.\w+$/, "");
  if (file.endsWith(".ts")) return [...(["guard", "canonical"].includes(name) ? ["node test/convex/guard.mjs"] : []), node("functions"), "cd test/convex && node deploy.mjs"];
  if (file.endsWith(".erl")) return exs(...(ERLANG[name] ?? ["beam/client", "beam/sidecar"]));
  if (file.endsWith(".ex")) return exs(...(ELIXIR[name] ?? ["beam/projector", "beam/sidecar"]));
  const entry = entryOf(lines, reached.functions[file] ?? [], line + 1);
  const enters = (test) => {
    const entered = reached.tests.get(test)?.entered;
    return entered && (entry === undefined ? entered[file] !== undefined : entered[file]?.includes(entry));
  };
  const own = (test) => (basename(test) === `${name}_test` ? 0 : 1);
  const units = programs(tree).flatMap((test) => (includes(tree, test, file) ? test : reached.tests.get(test)?.cases ?? test)).filter((test) => enters(test) || includes(tree, test, file))
    .sort((a, b) => own(a) - own(b) || reached.tests.get(a).ms - reached.tests.get(b).ms)
    .map((test) => (includes(tree, test, file) ? `anew ${test}` : test));
  // A test of the program whose program noted nothing (it clears the environment) is always asked.
  const real = exs(...(C[basename(dirname(file))] ?? []), ...(C_FILES[name] ?? []));
  return units.concat(process.env.UNITS ? [] : real.filter((test) => !reached.tests.get(test)?.entered || enters(test)));
}
