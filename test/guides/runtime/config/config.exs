import Config

# As the runtime has it (both paths are written out), and what docs/guides/from-http-sink.md adds.
config :openagents_runtime,
  convex_projection_sink: OpenAgentsRuntime.Convex.NoopSink,
  convex_projection_version: "convex_summary_v1",
  convex_http_sink: [
    base_url: "",
    admin_key: "",
    run_summary_mutation_path: "runtime:upsertRunSummary",
    codex_worker_summary_mutation_path: "runtime:upsertCodexWorkerSummary",
    request_timeout_ms: 2_500
  ],
  convex_event_log: OpenAgentsRuntime.EventLog,
  convex_projection_async: true
