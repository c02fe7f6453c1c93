# rebuild.exs - the two VMs of test/scale/rebuild.  `first` begins a rebuild and is killed in the middle of
# it; `second` resumes from the state file and judges the end.

defmodule Scale.Log do
  @moduledoc "An event log that both VMs see alike: rows and events are made up from the id."
  @behaviour OpenAgentsRuntime.Convex.EventLog
  @t ~U[2026-02-19 20:00:00.123456Z]

  @doc "How many entities of a kind: half of all are runs."
  def count(:run_summary), do: div(all() + 1, 2)
  def count(:codex_worker_summary), do: div(all(), 2)
  def count(_kind), do: 0

  def all, do: "SCALE_ENTITIES" |> System.fetch_env!() |> String.to_integer()

  # As many digits each, so that the order of numbers is that of ids.
  def id(n), do: "e#{1_000_000_000 + n}"
  defp number("e" <> digits), do: String.to_integer(digits) - 1_000_000_000

  # One to five events.
  defp last(id), do: rem(number(id), 5) + 1

  @impl true
  def row(kind, id) do
    {:ok, Map.merge(own(kind, id), %{status: "running", owner_user_id: number(id), latest_seq: last(id), updated_at: @t})}
  end

  defp own(:run_summary, id), do: %{run_id: id, thread_id: "thread of #{id}"}

  defp own(:codex_worker_summary, id),
    do: %{worker_id: id, adapter: "local", metadata: %{"region" => "eu", "weight" => number(id) / 8}, started_at: @t}

  @impl true
  def events_after(_kind, id, seq, limit) do
    for s <- (seq + 1)..min(last(id), seq + limit)//1,
        do: %{seq: s, event_type: "step.#{s}", inserted_at: DateTime.add(@t, s)}
  end

  @impl true
  def ids(kind, after_id, limit) do
    from = if after_id, do: number(after_id) + 1, else: 1
    for n <- from..min(from + limit - 1, count(kind))//1, do: id(n)
  end
end

defmodule Scale do
  alias Mix.Tasks.Runtime.Convex.Reproject
  alias OpenAgentsRuntime.Convex.{Audit, CanonicalJson, HttpSink, Reprojection, Summary}

  @name :scale
  @kinds [:run_summary, :codex_worker_summary]
  @findings ~w(missing stale ahead altered orphaned)a
  @line_ms 5000
  @deliver_ms 1_800_000

  # ---- the first VM

  def first do
    start()
    IO.puts("#{Scale.Log.all()} entities: #{Enum.map_join(@kinds, ", ", &"#{Scale.Log.count(&1)} #{&1}")}")
    third = div(Scale.Log.all(), 3)

    rebuild(fn %{done: done, elapsed_ms: elapsed_ms} ->
      if done == third do
        IO.puts("  kill -9 of the sidecar at #{done}")
        kill([:convex_sidecar_port.os_pid(@name)])
      end

      if done == 2 * third do
        IO.puts("  kill -9 of the VM and the sidecar at #{done}")
        File.write!(path("first"), :erlang.term_to_binary({done, elapsed_ms}))
        kill([:convex_sidecar_port.os_pid(@name), System.pid()])
        Process.sleep(:infinity)
      end
    end)

    raise "it was not killed"
  end

  # At once: the VM must not see its sidecar end.
  defp kill(pids), do: {_, 0} = System.cmd("kill", ["-9" | Enum.map(pids, &"#{&1}")])

  # ---- the second VM

  def second do
    {done, first_ms} = "first" |> path() |> File.read!() |> :erlang.binary_to_term()
    start()
    {second_ms, {:ok, rest}} = timed(fn -> rebuild(fn _progress -> :ok end) end)
    {deliver_ms, {:ok, %{pending: pending}}} = timed(fn -> :convex_sidecar.flush(@name, @deliver_ms) end)
    {audit_ms, {:ok, report}} = timed(fn -> audit() end)
    right = right(documents())
    {:ok, %{metrics: %{dead_letters: dead}}} = :convex_sidecar.status(@name)
    resumed_at = Scale.Log.all() - rest.total_entities

    table([
      {"entities", Scale.Log.all()},
      {"killed at", done},
      {"resumed at", resumed_at},
      {"rebuild, s", seconds(first_ms + second_ms)},
      {"rebuilt a second", per_second(done + rest.total_entities, first_ms + second_ms)},
      {"failed", rest.failed_entities},
      {"waited for delivery, s", seconds(deliver_ms)},
      {"delivered a second, all in all", per_second(Scale.Log.all(), first_ms + second_ms + deliver_ms)},
      {"pending, dead letters", "#{pending}, #{dead}"},
      {"audit, s", seconds(audit_ms)},
      {"audited a second", per_second(report.checked, audit_ms)},
      {"checked", report.checked},
      {Enum.map_join(@findings, ", ", &to_string/1), Enum.map_join(@findings, ", ", &"#{report[&1]}")},
      {"unsettled", report.unsettled},
      {"documents as they must be", right}
    ])

    clean? = report.stopped == nil and report.unsettled == 0 and Enum.all?(@findings, &(report[&1] == 0))
    whole? = rest.failed_entities == 0 and pending == 0 and dead == 0 and not File.exists?(path("state"))
    resumed? = resumed_at > 0 and resumed_at <= done
    good? = clean? and whole? and resumed? and report.checked == Scale.Log.all() and right == Scale.Log.all()
    IO.puts(if good?, do: "scale: resumed, whole, and the audit is clean", else: "scale: FAILED #{inspect(report, limit: 20)}")
    :convex_sidecar.stop(@name)
    System.halt(if good?, do: 0, else: 1)
  end

  defp audit do
    watcher = spawn_link(&watch_audit/0)
    answer = Audit.audit(:all, sidecar: @name)
    Process.unlink(watcher)
    Process.exit(watcher, :kill)
    answer
  end

  defp watch_audit do
    Process.sleep(@line_ms)

    with {:ok, %{state: "running"} = progress} <- Audit.status(sidecar: @name),
         do: IO.puts("  audit: " <> Mix.Tasks.Runtime.Convex.Audit.progress_text(progress))

    watch_audit()
  end

  # As Convex's own client reads them, `id <tab> canonical JSON` a line.
  defp documents do
    {out, 0} = System.cmd("node", ["test/convex/read.mjs"])
    String.split(out, "\n", trim: true)
  end

  # How many are, byte for byte, what the Elixir side makes of row and events; there may be no others.
  defp right(lines) do
    wanted =
      for kind <- @kinds, n <- 1..Scale.Log.count(kind)//1, into: %{} do
        id = Scale.Log.id(n)
        {Summary.document_id(kind, id), {kind, id}}
      end

    good =
      Enum.count(lines, fn line ->
        [id, json] = String.split(line, "\t")
        same?(wanted[id], json)
      end)

    if length(lines) == map_size(wanted), do: good, else: "#{good}, but #{length(lines)} stand there"
  end

  defp same?(nil, _json), do: false

  defp same?({kind, id}, json) do
    {:ok, row} = Scale.Log.row(kind, id)
    events = Scale.Log.events_after(kind, id, 0, 100)
    [at] = Regex.run(~r/"projected_at":"([^"]*)"/, json, capture: :all_but_first)
    document = Summary.summary(kind, row, %{count: length(events), latest: List.last(events)}, []) |> Map.put("projected_at", at)
    CanonicalJson.encode(Map.put(document, "projection_hash", CanonicalJson.hash(document))) == json
  end

  # ---- both

  defp start do
    Logger.configure(level: :error)
    {:ok, _} = Application.ensure_all_started(:convex_sidecar)
    Application.put_env(:openagents_runtime, :convex_event_log, Scale.Log)
    Application.put_env(:openagents_runtime, :convex_projection_sink, HttpSink)
    Application.put_env(:openagents_runtime, :convex_sidecar, name: @name)
    sink = [type: :http, base_url: System.fetch_env!("CONVEX_URL"), admin_key: System.fetch_env!("CONVEX_ADMIN_KEY")]
    {:ok, _} = :convex_sidecar.start_link(name: @name, store_dir: path("store"), config: [sink: sink, log: [level: :error]])
    :ok = :convex_sidecar.await(@name, 30_000)
  end

  defp rebuild(also) do
    progress = fn progress ->
      show(progress)
      also.(progress)
    end

    Reprojection.rebuild_all(progress: progress, resume: path("state"), max_concurrency: 64, results: :failed, wait: true, timeout: 60_000)
  end

  defp show(%{done: done, total: total} = progress) do
    now = System.monotonic_time(:millisecond)

    if done == total or now - Process.get(:shown_at, now - @line_ms) >= @line_ms do
      Process.put(:shown_at, now)
      IO.puts("  rebuild: " <> Reproject.progress_text(progress, progress.elapsed_ms))
    end
  end

  defp table(rows) do
    IO.puts("")
    width = rows |> Enum.map(fn {name, _} -> String.length(name) end) |> Enum.max()
    for {name, value} <- rows, do: IO.puts("#{String.pad_trailing(name, width)}  #{value}")
    IO.puts("")
  end

  defp path(name), do: Path.join(System.fetch_env!("SCALE_DIR"), name)

  defp timed(fun) do
    t0 = System.monotonic_time(:millisecond)
    answer = fun.()
    {System.monotonic_time(:millisecond) - t0, answer}
  end

  defp seconds(ms), do: :erlang.float_to_binary(ms / 1000, decimals: 1)
  defp per_second(n, ms), do: round(n * 1000 / max(ms, 1))
end

case System.argv() do
  ["first"] -> Scale.first()
  ["second"] -> Scale.second()
end
