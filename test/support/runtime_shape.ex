defmodule RuntimeShape do
  @moduledoc """
  The real runtime in small: its tables in a PostgreSQL, appends as it makes them, one VM of several. Runs inside
  that VM; test/runtime_shape_test.exs is the world around it.
  """
  @compile {:no_warn_undefined, :pgsql}
  alias OpenAgentsRuntime.Convex.{Projector, Sidecar}

  defmodule Log do
    @moduledoc "The event log over its tables, and a column that each UPDATE of a run raises."
    use OpenAgentsRuntime.Convex.SqlEventLog,
      query: &RuntimeShape.query/2,
      in_transaction?: &RuntimeShape.in_transaction?/0,
      kinds: [run_summary: [version: "row_version"]]
  end

  @doc "The runtime's tables and that column."
  def tables do
    Postgres.runtime_tables() <>
      """
      ALTER TABLE runtime.runs ADD COLUMN row_version bigint NOT NULL DEFAULT 0;
      CREATE FUNCTION runtime.raise_version() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN NEW.row_version := OLD.row_version + 1; RETURN NEW; END';
      CREATE TRIGGER raise_version BEFORE UPDATE ON runtime.runs FOR EACH ROW EXECUTE FUNCTION runtime.raise_version();
      """
  end

  # ---- a VM

  @doc "Become one: `port` leads to the database, `clock` is the file with the sidecar's offset."
  def start(port, clock, options) do
    System.put_env("TORTURE_CLOCK", clock)
    {:ok, _} = Application.ensure_all_started(:convex_sidecar)
    :persistent_term.put(__MODULE__, %{port: port, shared: connect(port), reads: :counters.new(1, [])})
    Application.put_env(:openagents_runtime, :convex_event_log, Log)
    Application.put_env(:openagents_runtime, :convex_sidecar, name: options[:name])
    {:ok, pid} = Sidecar.start_link(options)
    Process.unlink(pid)
    :convex_sidecar.await(options[:name], 20_000)
  end

  defp connect(port) do
    {:ok, connection} = :pgsql.connect(host: ~c"127.0.0.1", port: port, user: ~c"test", database: ~c"postgres", as_binary: true)
    connection
  end

  @doc false
  def query(sql, params) do
    %{shared: shared, reads: reads} = :persistent_term.get(__MODULE__)
    :counters.add(reads, 1, 1)
    Postgres.query!(Process.get(:connection, shared), sql, params)
  end

  @doc "How often the event log has asked the database."
  def reads, do: :counters.get(:persistent_term.get(__MODULE__).reads, 1)

  @doc false
  def in_transaction?, do: Process.get(:in_transaction, false)

  @doc "What is to be looked at again."
  def looks(name) do
    {:ok, %{looks: looks, asked: asked}} = :convex_sidecar_instance.lookup(name)
    :ets.info(looks, :size) + :ets.info(asked, :size)
  end

  # ---- what the runtime does

  @doc "One connection for what this process does."
  def with_connection(fun) do
    connection = connect(:persistent_term.get(__MODULE__).port)
    Process.put(:connection, connection)

    try do
      fun.()
    after
      :pgsql.terminate(connection)
    end
  end

  @doc "A run without an event, put there by another application."
  def create(id), do: run!("INSERT INTO runtime.runs (run_id, status, owner_user_id) VALUES ('#{id}', 'created', 7)")

  @doc "Append an event, and project: `form` is `:call` or `:async`."
  def append(id, type, form) do
    transaction(fn -> insert(id, type) end)
    project(id, form)
  end

  # The row first: it is what serializes the appenders of one run.
  defp insert(id, type) do
    run!("""
    UPDATE runtime.runs SET latest_seq = latest_seq + 1 WHERE run_id = '#{id}';
    INSERT INTO runtime.run_events (run_id, seq, event_type, inserted_at)
      SELECT run_id, latest_seq, '#{type}', clock_timestamp() FROM runtime.runs WHERE run_id = '#{id}'
    """)
  end

  @doc "The row changes, and nobody projects."
  def update(id, status), do: run!("UPDATE runtime.runs SET status = '#{status}', updated_at = clock_timestamp() WHERE run_id = '#{id}'")

  def project(id, :call), do: {:ok, _} = Projector.project_run(id, return: nil, timeout: 20_000)
  def project(id, :async), do: :ok = Projector.project_run_async(id)

  @doc "Append and project inside a transaction that ends `ms` later, in `COMMIT` or `ROLLBACK`; returns when it did."
  def late(id, types, form, ms, ending) do
    transaction(
      fn ->
        for type <- types, do: insert(id, type) && project(id, form)
        Process.sleep(ms)
      end,
      ending
    )

    now()
  end

  defp transaction(fun, ending \\ "COMMIT") do
    run!("BEGIN")
    Process.put(:in_transaction, true)
    fun.()
    Process.delete(:in_transaction)
    run!(ending)
  end

  defp run!(sql), do: Postgres.run!(Process.get(:connection), sql)

  @doc "The machine's clock, which all VMs share."
  def now, do: System.os_time(:millisecond)

  # ---- scenarios: each gives when the truth was complete, and how long it may take until it is seen

  @soon 3000
  @doc "One run from its beginning."
  def scenario(id, what, form) do
    create(id)
    for n <- 1..Enum.random(1..3), do: append(id, "run.delta#{n}", form)
    if Enum.random([true, false]), do: Process.sleep(Enum.random(1..400))
    {what, now_or_later(id, what, form)}
  end

  defp now_or_later(id, {:late, ms}, form), do: {late(id, ["run.late"], form, ms, "COMMIT"), @soon}

  # The end of a run: the event, then the row.
  defp now_or_later(id, {:row, ms}, form) do
    append(id, "run.finished", form)
    Process.sleep(ms)
    update(id, "succeeded")
    {now(), @soon}
  end

  defp now_or_later(id, {:ghost, n, :next}, form) do
    late(id, for(i <- 1..n, do: "GHOST#{i}"), form, Enum.random(0..300), "ROLLBACK")
    Process.sleep(Enum.random(0..1500))
    append(id, "run.real", form)
    {now(), @soon}
  end

  defp now_or_later(id, {:ghost, n, :none}, form),
    do: {late(id, for(i <- 1..n, do: "GHOST#{i}"), form, Enum.random(0..300), "ROLLBACK"), 60_000}

  @doc "What the other VM does to a run of this one: it changes the row, and projects."
  def change(id, status, form) do
    update(id, status)
    project(id, form)
    now()
  end

  @doc """
  Many runs, `width` at a time, each some seconds after the one before: `%{id => {what, {at_ms, within_ms}}}`. Without a pause
  they are as many as the machine can make, and the database answers nobody in time.
  """
  def scenarios(list, form, width) do
    list
    |> Enum.chunk_every(max(1, div(length(list) + width - 1, width)))
    |> Task.async_stream(
      fn some -> with_connection(fn -> paced(some, form) end) end,
      max_concurrency: width,
      timeout: :infinity
    )
    |> Enum.flat_map(fn {:ok, done} -> done end)
    |> Map.new()
  end

  defp paced([first | others], form) do
    one = fn {id, what} -> {id, scenario(id, what, form)} end
    [one.(first) | Enum.map(others, &(Process.sleep(Enum.random(0..7000)) && one.(&1)))]
  end

  @doc "Runs that have come to their end, at once."
  def ends(ids, form) do
    ids
    |> Task.async_stream(&with_connection(fn -> scenario(&1, {:row, 0}, form) end), timeout: :infinity)
    |> Stream.run()
  end

  @doc "One event for each of these runs, one after the other."
  def appends(ids, form), do: with_connection(fn -> for(id <- ids, do: create(id) && append(id, "run.started", form)) && :ok end)

  @doc "Changes of runs of the other VM, each with a connection of its own."
  def changes(list, form, width) do
    list
    |> Task.async_stream(
      fn {id, pause} -> with_connection(fn -> Process.sleep(pause) && {id, {:other_vm, {change(id, "changed", form), @soon}}} end) end,
      max_concurrency: width,
      timeout: :infinity
    )
    |> Map.new(fn {:ok, done} -> done end)
  end
end
