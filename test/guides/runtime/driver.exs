# driver.exs - the world around the runtime: its database, Convex, the other applications, and whoever kills. See run.

defmodule Driver do
  @tables_of_ours """
  CREATE TABLE worker_requests (worker_id text PRIMARY KEY);
  CREATE TABLE convex (document_id text PRIMARY KEY, summary jsonb);
  """
  # What changes without an event, and after everybody has stopped looking, is found within a minute.
  @right_within_ms 95_000
  # Beyond 2^53 it is Convex's int64.
  @metadata ~S|replace(w.metadata::text, '10000000000000000', '{"$integer": "AADBb/KGIwA="}')::jsonb|
  @time ~S|'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'|

  def main do
    runs = number("RUNS")
    workers = number("WORKERS")
    rounds = number("ROUNDS")
    :rand.seed(:exsss, number("SEED"))
    {:ok, server} = Postgres.start_link(Path.join(dir(), "pg"))
    db = Postgres.connect(server)
    :ok = Postgres.run!(db, Postgres.runtime_tables() <> @tables_of_ours <> truth())
    world = %{db: db, port: GenServer.call(server, :port), convex: Standin.launch(), vm: nil, away_until: now_ms(), killed: %{}}
    world = Enum.reduce(1..rounds, boot(world), &round(&2, &1, share(runs, rounds, &1), share(workers, rounds, &1)))
    {total, wrong} = verdict(world)
    kill_vm(world)
    Standin.remove(world.convex)
    GenServer.stop(server)
    events = "#{total["run_events"]} and #{total["worker_events"]} events"
    IO.puts("#{total["runs"]} runs, #{total["workers"]} workers, #{events}; #{told(world.killed)}")
    IO.puts("#{wrong["stale"]} stale, #{wrong["missing"]} missing, #{wrong["ghost"]} ghosts")
    if Enum.sum(Map.values(wrong)) == 0 and total["runs"] == runs and total["workers"] == workers, do: 0, else: 1
  end

  defp number(name), do: name |> System.fetch_env!() |> String.to_integer()
  defp dir, do: System.fetch_env!("RUNTIME_DIR")
  defp share(n, rounds, round), do: div(n * round, rounds) - div(n * (round - 1), rounds)
  defp now_ms, do: System.monotonic_time(:millisecond)

  # ---- one round: work, and kills among it; then all has to be right, with no start of a VM to look at everything

  defp round(world, number, runs, workers) do
    before = world.killed

    ask(
      for_each(
        "INSERT INTO runtime.runs (run_id, thread_id, status, owner_user_id, inserted_at, updated_at) SELECT 'run-#{number}-' || i, 'thread ' || i, 'created', i, now() AT TIME ZONE 'UTC', now() AT TIME ZONE 'UTC'",
        runs
      ),
      world
    )

    ask(for_each("INSERT INTO worker_requests SELECT 'worker-#{number}-' || i", workers), world)
    world = work(world)
    since = now_ms()
    Process.sleep(max(0, world.away_until - since))
    wrong = right(world, since + @right_within_ms)
    killed = Map.merge(world.killed, before, fn _what, all, some -> all - some end)

    IO.puts(
      "round #{number}: #{runs} runs, #{workers} workers; #{told(killed)}; #{told(wrong)} #{div(now_ms() - since, 1000)} s after the last change"
    )

    if Enum.sum(Map.values(wrong)) > 0, do: say_wrong(world)
    world
  end

  defp for_each(insert, n), do: "#{insert} FROM generate_series(1, #{n}) i"

  # VMs die in the first two thirds, sidecars and Convex to the end.
  defp work(world) do
    Process.sleep(Enum.random(500..6000))

    case done(world) do
      {all, all} ->
        world

      {done, all} ->
        world
        |> fault(
          Enum.random(
            if(3 * done < 2 * all,
              do: [:sidecar, :sidecar, :sidecar, :convex, :convex, :vm, :both, :pod],
              else: [:sidecar, :sidecar, :convex]
            )
          )
        )
        |> work()
    end
  end

  defp done(world) do
    [[done, all]] =
      ask(
        "SELECT (SELECT count(*) FROM runtime.runs WHERE terminal_at IS NOT NULL) + (SELECT count(*) FROM runtime.codex_workers WHERE status IN ('stopped', 'failed')), " <>
          "(SELECT count(*) FROM runtime.runs) + (SELECT count(*) FROM worker_requests)",
        world
      )

    {done, all}
  end

  # A worker that has stopped has its last event still to come, and some runs their ghosts.
  defp right(world, deadline) do
    {_, wrong} = verdict(world)
    if Enum.sum(Map.values(wrong)) == 0 or now_ms() > deadline, do: wrong, else: Process.sleep(1000) && right(world, deadline)
  end

  # ---- faults

  # Whoever is away cannot be told to go away.
  defp fault(world, :convex) do
    if now_ms() > world.away_until do
      ms = Enum.random(200..3000)
      Standin.away(world.convex, ms)
      count(%{world | away_until: now_ms() + ms + 500}, "Convex away")
    else
      world
    end
  end

  defp fault(world, :sidecar) do
    for pid <- sidecars(world), do: kill(pid)
    count(world, "sidecar killed")
  end

  defp fault(world, :vm), do: world |> kill_vm() |> count("VM killed") |> boot()

  defp fault(world, :both) do
    for pid <- sidecars(world), do: kill(pid)
    world |> kill_vm() |> count("both killed") |> boot()
  end

  # A pod without a volume: nothing of it is left.
  defp fault(world, :pod) do
    pids = sidecars(world)
    world = kill_vm(world)
    for pid <- pids, do: kill(pid)
    File.rm_rf!(store())
    world |> count("pod gone") |> boot()
  end

  defp count(world, what), do: %{world | killed: Map.update(world.killed, what, 1, &(&1 + 1))}
  defp told(counts), do: counts |> Enum.sort() |> Enum.map_join(", ", fn {what, n} -> "#{n} #{what}" end)
  defp kill(pid), do: System.cmd("kill", ["-9", "#{pid}"], stderr_to_stdout: true)

  # Children of the VM are children of its erl_child_setup.
  defp sidecars(world) do
    for setup <- children(elem(world.vm, 1)), pid <- children(setup), name(pid) == "convex_sidecar", do: pid
  end

  defp children(pid) do
    case File.read("/proc/#{pid}/task/#{pid}/children") do
      {:ok, pids} -> String.split(pids)
      {:error, _} -> []
    end
  end

  defp name(pid) do
    case File.read("/proc/#{pid}/comm") do
      {:ok, name} -> String.trim(name)
      {:error, _} -> nil
    end
  end

  # ---- the VM

  defp store, do: Path.join(dir(), "store")

  defp boot(world) do
    env = [
      {"DATABASE_PORT", "#{world.port}"},
      {"STORE_DIR", store()},
      {"CONVEX_URL", world.convex.url},
      {"CONVEX_ADMIN_KEY", world.convex.admin_key},
      {"RELEASE_DISTRIBUTION", "name"},
      {"RELEASE_NODE", "openagents-runtime-#{System.pid()}@127.0.0.1"},
      {"RELEASE_MODE", "interactive"},
      {"RELEASE_TMP", Path.join(dir(), "tmp")}
    ]

    script = ~S(exec "$0" start >>"$1" 2>&1)
    args = ["-c", script, Path.join(dir(), "release/bin/openagents_runtime"), Path.join(dir(), "runtime.log")]
    env = for {k, v} <- env, do: {to_charlist(k), to_charlist(v)}
    port = Port.open({:spawn_executable, "/bin/sh"}, [:exit_status, args: args, env: env])
    {:os_pid, pid} = Port.info(port, :os_pid)
    File.write!(Path.join(dir(), "vm.pid"), "#{pid}")
    %{world | vm: {port, pid}}
  end

  # run kills the one whose driver has died.
  defp kill_vm(%{vm: {port, pid}} = world) do
    kill(pid)
    File.rm(Path.join(dir(), "vm.pid"))

    receive do
      {^port, {:exit_status, _}} -> world
    end
  end

  # ---- the truth, in SQL, without a line of the library

  defp truth do
    """
    CREATE VIEW expected AS
      SELECT 'runtime/run_summary:' || r.run_id AS document_id, r.latest_seq AS row_seq, e.n, jsonb_build_object(
        'document_id', 'runtime/run_summary:' || r.run_id, 'kind', 'run_summary', 'run_id', r.run_id, 'thread_id', r.thread_id,
        'status', r.status, 'owner_user_id', r.owner_user_id, 'owner_guest_scope', r.owner_guest_scope,
        'terminal_reason_class', r.terminal_reason_class, 'terminal_reason', r.terminal_reason,
        'terminal_at', to_char(r.terminal_at, #{@time}), 'updated_at', to_char(r.updated_at, #{@time}),
        'projection_version', 'convex_summary_v1', 'event_count', e.n, 'latest_seq', r.latest_seq,
        'latest_event_type', l.event_type, 'latest_event_at', to_char(l.inserted_at, #{@time}),
        'runtime_source', jsonb_build_object('entity', 'run', 'run_id', r.run_id, 'seq', r.latest_seq)) AS summary
      FROM runtime.runs r
      LEFT JOIN runtime.run_events l ON l.run_id = r.run_id AND l.seq = r.latest_seq
      CROSS JOIN LATERAL (SELECT count(*) AS n FROM runtime.run_events e WHERE e.run_id = r.run_id) e
      UNION ALL
      SELECT 'runtime/codex_worker_summary:' || w.worker_id, w.latest_seq, e.n, jsonb_build_object(
        'document_id', 'runtime/codex_worker_summary:' || w.worker_id, 'kind', 'codex_worker_summary', 'worker_id', w.worker_id,
        'status', w.status, 'owner_user_id', w.owner_user_id, 'owner_guest_scope', w.owner_guest_scope,
        'workspace_ref', w.workspace_ref, 'codex_home_ref', w.codex_home_ref, 'adapter', w.adapter, 'metadata', #{@metadata},
        'started_at', to_char(w.started_at, #{@time}), 'stopped_at', to_char(w.stopped_at, #{@time}),
        'last_heartbeat_at', to_char(w.last_heartbeat_at, #{@time}), 'updated_at', to_char(w.updated_at, #{@time}),
        'projection_version', 'convex_summary_v1', 'event_count', e.n, 'latest_seq', w.latest_seq,
        'latest_event_type', l.event_type, 'latest_event_at', to_char(l.inserted_at, #{@time}),
        'runtime_source', jsonb_build_object('entity', 'codex_worker', 'worker_id', w.worker_id, 'seq', w.latest_seq))
      FROM runtime.codex_workers w
      LEFT JOIN runtime.codex_worker_events l ON l.worker_id = w.worker_id AND l.seq = w.latest_seq
      CROSS JOIN LATERAL (SELECT count(*) AS n FROM runtime.codex_worker_events e WHERE e.worker_id = w.worker_id) e;
    CREATE VIEW verdict AS
      SELECT document_id, CASE
        WHEN c.summary IS NULL THEN 'missing'
        WHEN x.summary IS NULL OR (c.summary->>'latest_seq')::bigint > x.row_seq OR c.summary->>'latest_event_type' = 'run.ghost' THEN 'ghost'
        WHEN c.summary - 'projected_at' - 'projection_hash' <> x.summary OR x.row_seq <> x.n THEN 'stale'
        ELSE 'right' END AS what, x.summary AS expected, c.summary AS found
      FROM expected x FULL JOIN convex c USING (document_id);
    """
  end

  defp verdict(world) do
    documents = Standin.documents(world.convex)
    ask("TRUNCATE convex", world)

    for some <- documents |> Enum.to_list() |> Enum.chunk_every(200), some != [] do
      rows = Enum.map_join(some, ", ", fn {id, json} -> "(#{quoted(id)}, #{quoted(json)})" end)
      ask("INSERT INTO convex VALUES #{rows}", world)
    end

    wrong = Map.new(ask("SELECT what, count(*) FROM verdict WHERE what <> 'right' GROUP BY what", world), &List.to_tuple/1)

    [[runs, workers, of_runs, of_workers]] =
      ask(
        "SELECT (SELECT count(*) FROM runtime.runs), (SELECT count(*) FROM runtime.codex_workers), " <>
          "(SELECT count(*) FROM runtime.run_events), (SELECT count(*) FROM runtime.codex_worker_events)",
        world
      )

    total = %{"runs" => runs, "workers" => workers, "run_events" => of_runs, "worker_events" => of_workers}
    {total, Map.merge(%{"stale" => 0, "missing" => 0, "ghost" => 0}, wrong)}
  end

  defp quoted(text), do: "'" <> String.replace(text, "'", "''") <> "'"

  # Field by field: what the tables say, and what stands.
  defp say_wrong(world) do
    rows =
      ask(
        """
        SELECT what, document_id, coalesce((SELECT string_agg(k || ': ' || coalesce(expected->>k, '-') || ' but ' || coalesce(found->>k, '-'), '; ')
          FROM jsonb_object_keys(expected || found) k
          WHERE expected->k IS DISTINCT FROM found->k AND k NOT IN ('projected_at', 'projection_hash')), '')
        FROM verdict WHERE what <> 'right' LIMIT 20
        """,
        world
      )

    for [what, id, differs] <- rows, do: IO.puts("  #{what} #{id} #{differs}")
  end

  # Rows of texts and integers.
  defp ask(sql, world) do
    {:ok, answers} = :pgsql.squery(world.db, sql)
    for {:error, why} <- answers, do: raise("#{sql}: #{inspect(why)}")

    for {_command, _columns, rows} <- answers, row <- rows do
      Enum.map(row, &plain/1)
    end
  end

  defp plain({_type, value}), do: plain(value)
  defp plain(text) when is_binary(text), do: if(text =~ ~r/\A\d+\z/, do: String.to_integer(text), else: text)
  defp plain(other), do: other
end

System.halt(Driver.main())
