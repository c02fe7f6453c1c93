import Config

config :openagents_runtime,
  database_port: String.to_integer(System.fetch_env!("DATABASE_PORT")),
  driver: System.fetch_env!("DATABASE_DRIVER"),
  store_dir: System.fetch_env!("STORE_DIR"),
  convex_projection_sink: OpenAgentsRuntime.Convex.HttpSink,
  convex_http_sink: [base_url: System.fetch_env!("CONVEX_URL"), admin_key: System.fetch_env!("CONVEX_ADMIN_KEY")]
