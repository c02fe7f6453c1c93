// tests.mjs: which files are changed, and which tests belong to each.

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, dirname, join } from "node:path";

const TREES = [["c_src", ".c"], ["src", ".erl"], ["lib/openagents_runtime", ".ex"], ["priv/convex", ".ts"]];
// What is generated, what describes rather than does, what only a typechecker or a terminal reads.
const LEFT_OUT = [/_generated/, /priv\/convex\/(kinds|auth\.config|validators)\.ts$/, /c_src\/main\.c$/];

// files(root): every file that may be changed, sorted.
export function files(root) {
  const walk = (dir) => readdirSync(join(root, dir), { withFileTypes: true }).flatMap((e) => (e.isDirectory() ? walk(`${dir}/${e.name}`) : [`${dir}/${e.name}`]));
  return TREES.flatMap(([dir, ext]) => walk(dir).filter((f) => f.endsWith(ext) && !LEFT_OUT.some((p) => p.test(f)))).sort();
}

const exs = (...names) => names.map((n) => `ERL_EPMD_PORT=$(tools/free-port) SIDECAR_PREBUILT=1 MIX_ENV=test mix test --max-failures 1 test/${n}_test.exs`);
const node = (name) => `tools/with-standin node test/convex/${name}.mjs`;

// Beside the unit programs of its folder: programs of others that use it, then tests of the real program.
const C = {
  term: { units: ["term/term", "intake/arguments", "dist/message"] },
  json: { units: ["projection/projection"] },
  projection: { units: ["outbox/decide"], beam: ["protocol"] },
  store: { units: ["store_tools/store_check", "outbox/outbox", "outbox/outbox_model"] },
  outbox: { units: ["delivery/dispatch"], beam: ["protocol"] },
  delivery: { units: [], sim: 300, beam: ["protocol", "faults"] },
  convex: { units: [], beam: ["tls", "protocol"] },
  sink: { units: ["delivery/dispatch"] },
  audit: { units: [], beam: ["audit"] },
  intake: { units: [], beam: ["protocol"] },
  dist: { units: [], beam: ["dist"] },
  status: { units: [], beam: ["protocol"] },
  sidecar: { units: [], beam: ["protocol", "faults"] },
  cli: { units: [], beam: ["protocol", "operate"] },
  config: { units: [], beam: ["protocol"] },
  ground: { units: ["status/exposition", "store/record"], beam: ["protocol"] },
};
// Beside those of its folder: for a command, the tests that use it.
const C_FILES = { cli_audit: ["audit"], cli_rebuild: ["rebuild"], cli_import: ["rebuild"] };
const ERLANG = {
  convex_sidecar_marks: ["beam/marks", "beam/conveyor", "beam/conveyor_model"],
  convex_sidecar_conveyor: ["beam/conveyor", "beam/conveyor_model"], convex_sidecar_batch: ["beam/conveyor"],
  convex_sidecar_looks: ["beam/looks", "beam/conveyor", "beam/conveyor_model"],
  convex_sidecar_source: ["beam/projector", "beam/conveyor", "beam/conveyor_model"],
  convex_sidecar_instance: ["beam/conveyor", "beam/client"], convex_sidecar_sweeper: ["beam/conveyor", "beam/reprojection"],
  convex_sidecar_port: ["beam/watch_clock", "beam/port"], convex_sidecar_watch: ["beam/watch_clock", "beam/watch"], convex_sidecar_config: ["beam/config"],
};
const ELIXIR = {
  projector: ["beam/projector", "beam/sidecars"], sink_queue: ["beam/sink_queue"], sidecars: ["beam/sidecars"], sidecar: ["beam/sidecar", "beam/config"],
  reprojection: ["beam/reprojection", "rebuild"], sql_event_log: ["beam/sql_event_log", "sql_log"], disk_event_log: ["beam/disk_event_log"],
  testing: ["beam/testing"], kinds: ["beam/kinds"], canonical_json: ["canonical"], audit: ["audit"], rebuild_state: ["rebuild"],
  own_modules: ["beam/own_modules"], telemetry: ["beam/telemetry_metrics"], preflight: ["preflight"],
};

// A test that includes the file which is changed is made anew with it.
function command(unit, file, tree) {
  const source = join(tree, `test/unit/${unit}_test.c`);
  const includes = existsSync(source) && readFileSync(source, "utf8").includes(`#include "${file.slice(6)}"`);
  return includes ? `make -s -f test/mutants/shared.mk anew/${unit}_test && build/shared/anew.${basename(unit)}_test` : `build/shared/${unit}_test`;
}

// testsOf(file, tree): shell commands, quickest first; each fails when it notices.
export function testsOf(file, tree) {
  const name = basename(file).replace(/\.\w+$/, "");
  if (file.endsWith(".ts")) return [node("functions"), "cd test/convex && node deploy.mjs"];
  if (file.endsWith(".erl")) return exs(...(ERLANG[name] ?? ["beam/client", "beam/sidecar"]));
  if (file.endsWith(".ex")) return exs(...(ELIXIR[name] ?? ["beam/projector", "beam/sidecar"]));
  const folder = basename(dirname(file)), more = C[folder] ?? {};
  const own = existsSync(join(tree, "test/unit", folder)) ? readdirSync(join(tree, "test/unit", folder)).filter((f) => f.endsWith("_test.c")).map((f) => `${folder}/${f.slice(0, -7)}`) : [];
  const first = own.filter((u) => basename(u) === name), rest = own.filter((u) => basename(u) !== name);
  return [...new Set([...first, ...rest, ...(more.units ?? [])])].map((u) => command(u, file, tree))
    .concat(more.sim ? [`build/shared/sim ${more.sim}`] : [])
    .concat(exs(...(more.beam ?? []), ...(C_FILES[name] ?? [])));
}
