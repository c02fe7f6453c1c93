defmodule OpenAgentsRuntime.Convex.SqlEventLogTest do
  # Against a PostgreSQL of its own (test/support/postgres.ex), with the runtime's tables, a foreign time zone
  # and a foreign DateStyle, through p1_pgsql.
  use SidecarCase, async: false

  alias OpenAgentsRuntime.Convex.{EventLog, JsonText, Projector}

  @moduletag timeout: 120_000

  defmodule Log do
    use OpenAgentsRuntime.Convex.SqlEventLog,
      query: &OpenAgentsRuntime.Convex.SqlEventLogTest.ask/2,
      in_transaction?: fn -> Process.get(:in_transaction, false) end,
      kinds: [invoice_summary: [id: "id", events: nil, columns: [amount: "total"]]]
  end

  defmodule Versioned do
    use OpenAgentsRuntime.Convex.SqlEventLog,
      query: &OpenAgentsRuntime.Convex.SqlEventLogTest.ask/2,
      kinds: [run_summary: [version: "last_processed_frame_id"]]
  end

  defmodule Lost do
    use OpenAgentsRuntime.Convex.SqlEventLog,
      query: &OpenAgentsRuntime.Convex.SqlEventLogTest.ask/2,
      schema: "nowhere"
  end

  @invoice [
    prefix: "billing/invoice:",
    entity: "invoice",
    id_field: "invoice_id",
    mutation: "runtime:upsertInvoiceSummary",
    fields: "status amount"
  ]

  setup_all do
    dir = Path.join(System.tmp_dir!(), "convex_pg_#{System.pid()}_#{SidecarCase.unique()}")
    server = start_supervised!({Postgres, dir})
    on_exit(fn -> File.rm_rf!(dir) end)
    connection = Postgres.connect(server)
    :ok = Postgres.run!(connection, Postgres.runtime_tables())
    # Times with a zone as well.
    zones = for column <- ~w(started_at updated_at), do: "ALTER TABLE runtime.codex_workers ALTER #{column} TYPE timestamptz(6); "
    :ok = Postgres.run!(connection, zones)
    counter = :counters.new(1, [])
    :persistent_term.put(__MODULE__, {connection, counter})
    %{connection: connection, counter: counter}
  end

  setup %{connection: connection} do
    Postgres.run!(connection, "TRUNCATE runtime.runs, runtime.codex_workers CASCADE")
    :ok
  end

  @doc false
  def ask(sql, params) do
    {connection, counter} = :persistent_term.get(__MODULE__)
    :counters.add(counter, 1, 1)
    Postgres.query!(connection, sql, params)
  end

  # `n` runs of `events` events each, as the runtime has them.
  defp runs(connection, n, events) do
    Postgres.run!(connection, """
    INSERT INTO runtime.runs (run_id, thread_id, status, owner_user_id, latest_seq, inserted_at, updated_at)
      SELECT 'run_' || i, 't', 'running', i, #{events}, '2026-02-19 20:00:00', '2026-02-19 20:00:00.5'
      FROM generate_series(1, #{n}) i;
    INSERT INTO runtime.run_events (run_id, seq, event_type, payload, inserted_at)
      SELECT 'run_' || i, s, 'run.delta', '{"large": true}', timestamp '2026-02-19 20:00:00' + s * interval '1 second'
      FROM generate_series(1, #{n}) i, generate_series(1, #{events}) s;
    ANALYZE runtime.runs; ANALYZE runtime.run_events;
    """)
  end

  test "a row is what Ecto gives: times, bigint, jsonb, nulls; whatever time zone the server has", %{connection: c} do
    Postgres.run!(c, """
    INSERT INTO runtime.runs (run_id, status, owner_user_id, latest_seq, terminal_at, updated_at)
      VALUES ('r "1"', E'it\\'s\\n\\u00e4 \\U0001F600', 9007199254740993, 2, '2026-02-19 20:00:00', '2026-02-19 20:00:00.000001');
    INSERT INTO runtime.codex_workers (worker_id, owner_user_id, metadata, started_at)
      VALUES ('w', 7, '{"a": [1.5, 1e21, true, null, {"q": "\\\\ \\" \\u0001 é"}], "n": -0.25}', '2026-02-19 20:00:00.5+00');
    """)

    assert {:ok, run} = Log.row(:run_summary, ~s(r "1"))

    assert run == %{
             run_id: ~s(r "1"),
             thread_id: nil,
             status: "it's\nä 😀",
             owner_user_id: 9_007_199_254_740_993,
             owner_guest_scope: nil,
             terminal_reason_class: nil,
             terminal_reason: nil,
             terminal_at: ~U[2026-02-19 20:00:00.000000Z],
             updated_at: ~U[2026-02-19 20:00:00.000001Z],
             latest_seq: 2
           }

    assert {:ok, %{metadata: metadata, started_at: at, stopped_at: nil}} = Log.row(:codex_worker_summary, "w")
    assert at == ~U[2026-02-19 20:00:00.500000Z]
    many = 1_000_000_000_000_000_000_000
    assert metadata == %{"a" => [1.5, many, true, nil, %{"q" => "\\ \" \u0001 é"}], "n" => -0.25}
    for id <- ["r", "a\0b", <<255>>, ""], do: assert(Log.row(:run_summary, id) == :error)
  end

  test "events, ids and rows, of one entity and of many", %{connection: c} do
    runs(c, 3, 5)
    assert [%{seq: 4, event_type: "run.delta", inserted_at: at}, %{seq: 5}] = Log.events_after(:run_summary, "run_1", 3, 10)
    assert at == ~U[2026-02-19 20:00:04.000000Z]
    assert [%{seq: 1}] = Log.events_after(:run_summary, "run_1", 0, 1)
    assert Log.events_after(:run_summary, "nobody", 0, 1) == []
    some = Log.events_of(:run_summary, [{"run_1", 4}, {"run_2", 5}, {"run_3", 0}, {"x", 0}], 2)
    assert for({id, events} <- some, do: {id, Enum.map(events, & &1.seq)}) == [{"run_1", [5]}, {"run_3", [1, 2]}]
    assert Log.ids(:run_summary, nil, 2) == ["run_1", "run_2"]
    assert Log.ids(:run_summary, "run_2", 2) == ["run_3"]
    assert Log.ids(:run_summary, "run_3", 2) == []
    assert Map.keys(Log.rows(:run_summary, ["run_1", "x", "run_3"])) == ["run_1", "run_3"]
    assert Log.rows(:run_summary, []) == %{}
    assert Log.ids(:codex_worker_summary, nil, 2) == []
    assert Enum.count(EventLog.stream_ids(Log, :run_summary)) == 3
  end

  test "what changed since, the oldest first; whether this is a transaction", %{connection: c} do
    runs(c, 5, 1)
    Postgres.run!(c, "UPDATE runtime.runs SET updated_at = '2026-02-19 21:00:00' WHERE run_id = 'run_4'")
    Postgres.run!(c, "UPDATE runtime.runs SET updated_at = '2026-02-19 20:30:00' WHERE run_id = 'run_5'")
    assert Log.changed_since(:run_summary, ~U[2026-02-19 20:30:00Z], 10) == ["run_5", "run_4"]
    assert Log.changed_since(:run_summary, ~U[2026-02-19 20:00:00Z], 2) == ["run_1", "run_2"]
    assert Log.changed_since(:run_summary, ~U[2026-02-19 21:00:01Z], 2) == []
    Postgres.run!(c, "INSERT INTO runtime.codex_workers (worker_id, updated_at) VALUES ('w', '2026-02-19 20:00:00+00')")
    assert Log.changed_since(:codex_worker_summary, ~U[2026-02-19 20:00:00Z], 2) == ["w"]
    assert Log.changed_since(:codex_worker_summary, ~U[2026-02-19 20:00:01Z], 2) == []
    refute Log.in_transaction?()
    Process.put(:in_transaction, true)
    assert Log.in_transaction?()
  end

  test "a column that orders the versions of a row", %{connection: c} do
    runs(c, 1, 1)
    {:ok, row} = Log.row(:run_summary, "run_1")
    assert Log.version_of(row) == nil
    {:ok, row} = Versioned.row(:run_summary, "run_1")
    assert Versioned.version_of(row) == nil
    Postgres.run!(c, "UPDATE runtime.runs SET last_processed_frame_id = 7")
    {:ok, row} = Versioned.row(:run_summary, "run_1")
    assert Versioned.version_of(row) == 7
    source = {OpenAgentsRuntime.Convex.Source, Versioned}

    assert {:ok, %{options: %{row_version: 7, log_end: 1}, row: sent}} =
             :convex_sidecar_source.read(source, :run_summary, "run_1", :unknown)

    refute Map.has_key?(sent, :"$version")
  end

  test "ids of uuid and of bigint, tables and columns of one's own; what can be no such id is not there", %{connection: c} do
    configure(:convex_kinds, invoice_summary: @invoice)
    id = "7f8f7f6e-0000-4000-8000-000000000001"

    for {type, ids, no} <- [{"uuid", [id], ["x", String.slice(id, 1..-1)]}, {"bigint", ["12", "-3"], ["9223372036854775808", "012", "1.0"]}] do
      # A new table: what is known of the old one is forgotten with the configuration.
      configure(:convex_kinds, invoice_summary: Keyword.put(@invoice, :prefix, "billing/#{type}:"))

      Postgres.run!(
        c,
        "DROP TABLE IF EXISTS runtime.invoices; CREATE TABLE runtime.invoices (id #{type} PRIMARY KEY, status text, total numeric)"
      )

      for id <- ids, do: Postgres.run!(c, "INSERT INTO runtime.invoices VALUES ('#{id}', 'open', 12.50)")
      assert Log.row(:invoice_summary, hd(ids)) == {:ok, %{invoice_id: hd(ids), status: "open", amount: 12.5}}
      for id <- no, do: assert(Log.row(:invoice_summary, id) == :error)
      assert Map.keys(Log.rows(:invoice_summary, no ++ ids)) == Enum.sort(ids)
      assert Enum.sort(Log.ids(:invoice_summary, nil, 9)) == Enum.sort(ids)
      assert Log.events_after(:invoice_summary, hd(ids), 0, 9) == []
    end

    # It has no updated_at, and nobody said that it had.
    assert Log.changed_since(:invoice_summary, DateTime.utc_now(), 1) == []
  end

  test "a table or a column that is not there is named, and what to say" do
    assert_raise ArgumentError, ~r/Lost.*no table "nowhere"."runs"; schema: and kinds:/, fn -> Lost.row(:run_summary, "r") end

    Postgres.run!(
      elem(:persistent_term.get(__MODULE__), 0),
      "CREATE SCHEMA IF NOT EXISTS nowhere; CREATE TABLE IF NOT EXISTS nowhere.runs (run_id text)"
    )

    assert_raise ArgumentError, ~r/"nowhere"."runs" has no column thread_id; kinds:/, fn -> Lost.row(:run_summary, "r") end
  end

  test "every query of entities goes by an index", %{connection: c} do
    runs(c, 20_000, 3)
    test = self()

    log = %{
      module: __MODULE__.Explained,
      schema: "runtime",
      opts: [],
      query: fn sql, params ->
        send(test, {:asked, sql, params})
        ask(sql, params)
      end
    }

    alias OpenAgentsRuntime.Convex.SqlEventLog
    _ = SqlEventLog.ids(log, :run_summary, nil, 10)
    flush()
    ids = for i <- 1..512, do: "run_#{i * 30}"

    for {what, indexes} <- [
          {fn -> SqlEventLog.rows(log, :run_summary, ids) end, ["runs_pkey"]},
          {fn -> SqlEventLog.rows(log, :run_summary, ["run_7"]) end, ["runs_pkey"]},
          {fn -> SqlEventLog.events_of(log, :run_summary, Enum.map(ids, &{&1, 2}), 32) end, ["run_events_run_id_seq_index"]},
          {fn -> SqlEventLog.events_after(log, :run_summary, "run_7", 1, 5000) end, ["run_events_run_id_seq_index"]},
          {fn -> SqlEventLog.ids(log, :run_summary, "run_7", 1000) end, ["runs_pkey"]},
          {fn -> SqlEventLog.ids(log, :run_summary, nil, 1000) end, ["runs_pkey"]}
        ] do
      what.()
      assert_received {:asked, sql, params}
      {:ok, {_, rows}} = Postgres.query!(c, "EXPLAIN " <> sql, params)
      plan = Enum.map_join(rows, "\n", fn row -> row |> hd() |> then(&if is_tuple(&1), do: elem(&1, 1), else: &1) end)
      for index <- indexes, do: assert(plan =~ index, plan)
      refute plan =~ "Seq Scan", plan
    end
  end

  test "a catch-up of what the sidecar knows costs a few queries a batch", %{connection: c, counter: counter} do
    runs(c, 3000, 3)
    configure(:convex_event_log, Log)
    {name, fake} = start_fake()
    _ = Log.ids(:run_summary, nil, 1)
    first = asked(counter, fn -> caught_up(name) end)
    assert map_size(FakeSidecar.documents(fake)) == 3000
    assert Enum.all?(FakeSidecar.documents(fake), fn {_, d} -> d.folded == 3 and d.count == 3 end)
    # A store that knows none wants the events before the last as well.
    assert first / 3000 <= 0.1
    :ets.delete_all_objects(elem(:convex_sidecar_instance.lookup(name), 1).hints)
    assert asked(counter, fn -> caught_up(name) end) / 3000 <= 0.02
    assert asked(counter, fn -> caught_up(name) end) / 3000 <= 0.02
  end

  test "many at once are the same documents as one by one: long histories, new events, rows gone", %{connection: c} do
    runs(c, 40, 3)

    Postgres.run!(c, """
    INSERT INTO runtime.run_events (run_id, seq, event_type, inserted_at)
      SELECT 'run_1', s, 'run.delta', now() FROM generate_series(4, 6000) s;
    UPDATE runtime.runs SET latest_seq = 6000 WHERE run_id = 'run_1';
    UPDATE runtime.runs SET latest_seq = 9 WHERE run_id = 'run_2';
    UPDATE runtime.runs SET latest_seq = 1 WHERE run_id = 'run_3';
    DELETE FROM runtime.run_events WHERE run_id = 'run_4'; UPDATE runtime.runs SET latest_seq = 0 WHERE run_id = 'run_4';
    """)

    configure(:convex_event_log, Log)
    {name, fake} = start_fake()
    for i <- 1..41, do: :ok = Projector.project_run_async("run_#{i}", sidecar: name)
    :ok = :convex_sidecar.settle(name, 20_000)
    folded = for {"runtime/run_summary:" <> id, d} <- FakeSidecar.documents(fake), into: %{}, do: {id, d.folded}
    assert map_size(folded) == 40
    assert %{"run_1" => 6000, "run_2" => 3, "run_3" => 3, "run_4" => 0, "run_40" => 3} = folded
  end

  test "JSON of every form" do
    for {text, term} <- [
          {"{}", %{}},
          {" [ ] ", []},
          {~s({"a" : {"b":[1,-2,{"c":null}]}}), %{"a" => %{"b" => [1, -2, %{"c" => nil}]}}},
          {~S("\u00e9\/\b\f\n\r\t\"\\ \ud83d\ude00"), "é/\b\f\n\r\t\"\\ 😀"},
          {"1e3", 1000.0},
          {"-1.5E-2", -0.015},
          {"123456789012345678901234567890", 123_456_789_012_345_678_901_234_567_890}
        ] do
      assert JsonText.decode(text) == term
    end

    for text <- ["", "{", "[1,]", "[,1]", ~s({"a"}), ~s({"a":1,}), "nul", "1 2", ~S("\x"), ~s("a)],
        do: assert_raise(ArgumentError, fn -> JsonText.decode(text) end)
  end

  defp caught_up(name) do
    :ok = Projector.project_all_async(:run_summary, sidecar: name)
    :ok = :convex_sidecar.settle(name, 60_000)
  end

  defp asked(counter, fun) do
    before = :counters.get(counter, 1)
    fun.()
    :counters.get(counter, 1) - before
  end

  defp flush do
    receive do
      {:asked, _, _} -> flush()
    after
      0 -> :ok
    end
  end
end
