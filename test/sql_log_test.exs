defmodule ConvexSidecar.SqlLogTest do
  # The real program over a real PostgreSQL: appends as the runtime makes them, a catch-up, a pruned history.
  use SidecarCase, async: false

  alias OpenAgentsRuntime.Convex.Projector

  defmodule Log do
    use OpenAgentsRuntime.Convex.SqlEventLog, query: &ConvexSidecar.SqlLogTest.ask/2
  end

  @doc false
  def ask(sql, params) do
    {connection, counter} = :persistent_term.get(__MODULE__)
    :counters.add(counter, 1, 1)
    Postgres.query!(connection, sql, params)
  end

  setup do
    dir = Path.join(System.tmp_dir!(), "convex_pg_#{System.pid()}_#{unique()}")
    server = start_supervised!({Postgres, dir})
    on_exit(fn -> File.rm_rf!(dir) end)
    connection = Postgres.connect(server)
    :ok = Postgres.run!(connection, Postgres.runtime_tables())
    counter = :counters.new(1, [])
    :persistent_term.put(__MODULE__, {connection, counter})
    configure(:convex_event_log, Log)
    %{connection: connection, counter: counter}
  end

  test "a catch-up of 2,000 runs, again with nothing new, and a history whose beginning is gone", %{connection: c, counter: counter} do
    Postgres.run!(c, """
    INSERT INTO runtime.runs (run_id, status, owner_user_id, latest_seq, updated_at)
      SELECT 'run_' || i, 'running', i, 3, '2026-02-19 20:00:00' FROM generate_series(1, 2000) i;
    INSERT INTO runtime.run_events (run_id, seq, event_type, inserted_at)
      SELECT 'run_' || i, s, 'run.delta', '2026-02-19 20:00:00' FROM generate_series(1, 2000) i, generate_series(1, 3) s;
    INSERT INTO runtime.runs (run_id, status, owner_user_id, latest_seq) VALUES ('pruned', 'running', 1, 5);
    INSERT INTO runtime.run_events (run_id, seq, event_type) SELECT 'pruned', s, 'run.delta' FROM generate_series(3, 5) s;
    ANALYZE;
    """)

    name = start_instance(name: unique_name(), store_dir: Path.join(tmp_dir(), "store"))
    :ok = :convex_sidecar.await(name, 10_000)

    sweep = fn ->
      before = :counters.get(counter, 1)
      :ok = Projector.project_all_async(:run_summary, sidecar: name)
      :ok = :convex_sidecar.settle(name, 60_000)
      (:counters.get(counter, 1) - before) / 2001
    end

    assert sweep.() <= 0.1
    document = fn id -> :convex_sidecar.checkpoint(name, "runtime/run_summary:#{id}") end
    assert {:ok, %{seq: 3, event_count: 3}} = document.("run_2000")
    assert {:ok, %{seq: 5, event_count: 3, folded_seq: 5}} = document.("pruned")
    {:ok, %{metrics: %{kept_total: kept}}} = :convex_sidecar.status(name)
    assert sweep.() <= 0.1
    assert {:ok, %{metrics: %{kept_total: ^kept}}} = :convex_sidecar.status(name)

    Postgres.run!(c, """
    UPDATE runtime.runs SET latest_seq = 6, status = 'succeeded' WHERE run_id = 'pruned';
    INSERT INTO runtime.run_events (run_id, seq, event_type) VALUES ('pruned', 6, 'run.finished');
    """)

    assert {:ok, %{write: "queued", seq: 6, summary: %{"status" => "succeeded", "event_count" => 4}}} =
             Projector.project_run("pruned", sidecar: name)
  end

  test "integers beyond 64 bits of a jsonb column are taken, or refused with the path", %{connection: c} do
    Postgres.run!(c, ~s(INSERT INTO runtime.codex_workers (worker_id, metadata, status\) VALUES ('w', '{"v": [1.0e21]}', 'running'\)))
    name = start_instance(name: unique_name(), store_dir: Path.join(tmp_dir(), "store"))
    :ok = :convex_sidecar.await(name, 10_000)
    assert {:ok, %{summary: %{"metadata" => %{"v" => [v]}}}} = Projector.project_codex_worker("w", sidecar: name)
    assert v == 1.0e21
    configure(:convex_big_numbers, :refuse)
    assert {:error, {:invalid_summary, {:invalid, path, _why}}} = Projector.project_codex_worker("w", sidecar: name)
    assert path =~ "metadata.v"
  end
end
