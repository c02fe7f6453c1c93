# The event log of the demo with LOG=postgres: the runtime's tables in a PostgreSQL server of its own, written
# as the runtime writes them, and read by SqlEventLog.
Code.require_file("../test/support/postgres.ex", __DIR__)

defmodule Demo.PostgresLog do
  use OpenAgentsRuntime.Convex.SqlEventLog, query: &Demo.PostgresLog.query/2

  @tables %{
    run_summary: {"runs", "run_events", "run_id"},
    codex_worker_summary: {"codex_workers", "codex_worker_events", "worker_id"}
  }

  def child_spec(dir: dir), do: %{id: __MODULE__, start: {__MODULE__, :start_link, [dir]}}

  def start_link(dir) do
    {:ok, pid} = Postgres.start_link(dir)
    connection = Postgres.connect(pid)
    :ok = Postgres.run!(connection, Postgres.runtime_tables())
    :persistent_term.put(__MODULE__, connection)
    {:ok, pid}
  end

  def query(sql, params), do: Postgres.query!(:persistent_term.get(__MODULE__), sql, params)

  def create_run(id, columns), do: create(:run_summary, id, columns)
  def create_worker(id, columns), do: create(:codex_worker_summary, id, columns)

  def append_event(id, type, payload, opts \\ []), do: append(:run_summary, id, type, payload, opts)

  def append_worker_event(id, type, payload, opts \\ []),
    do: append(:codex_worker_summary, id, type, payload, opts)

  defp create(kind, id, columns) do
    {table, _events, key} = @tables[kind]
    {:ok, _} = query("INSERT INTO runtime.#{table} (#{key}) VALUES ($1::text)", [id])
    update(kind, id, columns)
  end

  # The row holds the counter, so appends to one entity are serialized; event and counter are written together or not at all.
  defp append(kind, id, type, payload, opts) do
    {table, events, key} = @tables[kind]

    {:ok, {_, [[{:text, seq}]]}} =
      query(
        "WITH r AS (UPDATE runtime.#{table} SET latest_seq = latest_seq + 1 WHERE #{key} = $1::text RETURNING latest_seq) " <>
          "INSERT INTO runtime.#{events} (#{key}, seq, event_type, payload, inserted_at) " <>
          "SELECT $1::text, latest_seq, $2::text, ($3::text)::jsonb, now() AT TIME ZONE 'UTC' FROM r RETURNING seq::text",
        [id, type, OpenAgentsRuntime.Convex.CanonicalJson.encode(payload)]
      )

    :ok = update(kind, id, Map.new(opts[:row] || %{}))
    {:ok, String.to_integer(seq)}
  end

  defp update(kind, id, columns) do
    {table, _events, key} = @tables[kind]
    columns = Map.put(columns, :updated_at, DateTime.utc_now())
    names = Enum.map_join(columns, ", ", fn {name, _} -> ~s("#{name}") end)
    json = OpenAgentsRuntime.Convex.CanonicalJson.encode(columns)

    {:ok, _} =
      query(
        "UPDATE runtime.#{table} t SET (#{names}) = (SELECT #{names} FROM " <>
          "jsonb_populate_record(t, ($2::text)::jsonb)) WHERE #{key} = $1::text",
        [id, json]
      )

    :ok
  end
end
