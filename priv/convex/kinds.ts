// Written by `make kinds` from priv/kinds.ini: change that, then run it again.
// The runtime's own kinds; a kind of your own needs no line here (docs/CONVEX.md).
import { documentOf, map, text, userId } from "./documents.js";

export const RUN_SUMMARY = "run_summary";
export const runSummary = documentOf(RUN_SUMMARY, "run_id", {
  thread_id: text,
  status: text,
  owner_user_id: userId,
  owner_guest_scope: text,
  terminal_reason_class: text,
  terminal_reason: text,
  terminal_at: text,
  updated_at: text,
});

export const CODEX_WORKER_SUMMARY = "codex_worker_summary";
export const codexWorkerSummary = documentOf(CODEX_WORKER_SUMMARY, "worker_id", {
  status: text,
  owner_user_id: userId,
  owner_guest_scope: text,
  workspace_ref: text,
  codex_home_ref: text,
  adapter: text,
  metadata: map,
  started_at: text,
  stopped_at: text,
  last_heartbeat_at: text,
  updated_at: text,
});
