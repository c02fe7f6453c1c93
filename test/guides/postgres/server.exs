# server.exs DIR ENTITIES: a PostgreSQL of its own in DIR with the runtime's tables, and ENTITIES runs of three events; its
# port is in DIR.port when it takes connections.  Ends with this VM.
[dir, entities] = System.argv()
{:ok, server} = Postgres.start_link(dir)
connection = Postgres.connect(server)
Postgres.run!(connection, Postgres.runtime_tables())

Postgres.run!(connection, """
CREATE TABLE runtime.invoices (invoice_id text PRIMARY KEY, status text, amount bigint, owner_user_id bigint,
  metadata jsonb, latest_seq bigint, updated_at timestamp(6));
CREATE TABLE runtime.invoice_events (invoice_id text, seq bigint, event_type text, inserted_at timestamp(6), UNIQUE (invoice_id, seq));
INSERT INTO runtime.invoices VALUES ('i1', 'open', 4200, 7, '{"a": 1}', 1, now());
INSERT INTO runtime.invoice_events VALUES ('i1', 1, 'invoice.opened', now());
INSERT INTO runtime.runs (run_id, status, owner_user_id, latest_seq, inserted_at, updated_at)
  SELECT 'run_' || md5(i::text), 'running', i, 3, '2026-02-19 20:00:00', '2026-02-19 20:00:00' FROM generate_series(1, #{entities}) i;
INSERT INTO runtime.run_events (run_id, seq, event_type, inserted_at)
  SELECT 'run_' || md5(i::text), s, 'run.delta', '2026-02-19 20:00:00' FROM generate_series(1, #{entities}) i, generate_series(1, 3) s;
ANALYZE;
""")

File.write!(dir <> ".new", to_string(GenServer.call(server, :port)))
File.rename!(dir <> ".new", dir <> ".port")
Process.sleep(:infinity)
