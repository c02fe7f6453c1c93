# soak.exs - does it stay as it is?  Started by test/soak/run.
#
# Two sidecars share 400 runs (rendezvous). `:steady` is never touched: what leaks in the program
# shows there. `:restless` is restarted every 20 s, in turn by restart/1, SIGTERM and SIGKILL: what
# leaks at a restart shows in the VM, and what is lost at one shows at the end, when every run's
# events, its checkpoint and its document in Convex are compared.

defmodule Soak.Log do
  @moduledoc "An event log that does not grow: a counter a run, events made up from it."
  @behaviour OpenAgentsRuntime.Convex.EventLog
  @t ~U[2026-02-19 20:00:00.123456Z]

  def new(ids) do
    :ets.new(__MODULE__, [:named_table, :public, :ordered_set, write_concurrency: true])
    :ets.insert(__MODULE__, for(id <- ids, do: {id, 0}))
  end

  def append(id), do: :ets.update_counter(__MODULE__, id, 1)
  def last(id), do: :ets.lookup_element(__MODULE__, id, 2)
  def appended, do: :ets.foldl(fn {_, n}, sum -> sum + n end, 0, __MODULE__)

  @impl true
  def row(:run_summary, id), do: {:ok, %{run_id: id, thread_id: "t", status: "running", latest_seq: last(id), updated_at: @t}}
  def row(_kind, _id), do: :error

  @impl true
  def events_after(:run_summary, id, seq, limit),
    do: for(s <- (seq + 1)..min(last(id), seq + limit)//1, do: %{seq: s, event_type: "run.delta", inserted_at: @t})

  @impl true
  def ids(:run_summary, after_id, limit), do: following(after_id || "", limit)
  def ids(_kind, _after, _limit), do: []

  defp following(_id, 0), do: []

  defp following(id, limit) do
    case :ets.next(__MODULE__, id) do
      :"$end_of_table" -> []
      next -> [next | following(next, limit - 1)]
    end
  end
end

defmodule Soak do
  alias OpenAgentsRuntime.Convex.{HttpSink, Projector, Summary}

  @runs 400
  @workers 4
  # Between two appends of a worker: 200 appends a second in all.
  @pause_ms 20
  @sample_ms 5000
  @restart_ms 20_000
  @names [:steady, :restless]

  def main do
    minutes = "SOAK_MINUTES" |> System.fetch_env!() |> Float.parse() |> elem(0)
    Logger.configure(level: :error)
    {:ok, _} = Application.ensure_all_started(:convex_sidecar)
    ids = for i <- 1..@runs, do: "run_#{i}"
    Soak.Log.new(ids)
    start_sidecars()
    calls = :counters.new(2, [])
    stop = :atomics.new(1, [])
    workers = for w <- 1..@workers, do: Task.async(fn -> append(w, 1, calls, stop) end)
    started = now()
    IO.puts("#{@runs} runs, two sidecars, #{@workers} appenders, a restart every #{div(@restart_ms, 1000)} s, #{minutes} minutes")
    IO.puts("   min    VM MB   VM fds  steady MB  fds  restless MB  fds  appended  kept  delivered  pending  restarts  calls failed")
    samples = watch(started, round(minutes * 60_000), [], %{restarts: 0, restart_at: started + @restart_ms, line_at: started}, calls)
    # Asked, not killed: a process that dies between an append and its projection has told nobody.
    :ok = :atomics.put(stop, 1, 1)
    Task.await_many(workers, 30_000)
    for name <- @names, do: :ok = :convex_sidecar.await(name, 60_000)
    for name <- @names, do: :ok = :convex_sidecar.settle(name, 60_000)
    for name <- @names, do: {:ok, %{pending: 0}} = :convex_sidecar.flush(name, 60_000)
    verdict(ids, samples, calls)
  end

  defp start_sidecars do
    Application.put_env(:openagents_runtime, :convex_event_log, Soak.Log)
    Application.put_env(:openagents_runtime, :convex_projection_sink, HttpSink)
    Application.put_env(:openagents_runtime, :convex_sidecars, @names)
    sink = [type: :http, base_url: System.fetch_env!("CONVEX_URL"), admin_key: System.fetch_env!("CONVEX_ADMIN_KEY")]
    dir = System.fetch_env!("SOAK_DIR")

    for name <- @names do
      {:ok, _} = :convex_sidecar.start_link(name: name, store_dir: Path.join(dir, "#{name}"), config: [sink: sink, log: [level: :error]])
      :ok = :convex_sidecar.await(name, 10_000)
    end
  end

  # Mostly the asynchronous form; every tenth append waits for `kept`, and must not fail.
  defp append(worker, n, calls, stop) do
    id = "run_#{rem(n * @workers + worker, @runs) + 1}"
    Soak.Log.append(id)

    if rem(n, 10) == 0 do
      result = Projector.project_run(id, wait: true, timeout: 15_000, return: nil)
      :counters.add(calls, if(match?({:ok, _}, result), do: 1, else: 2), 1)
    else
      :ok = Projector.project_run_async(id)
    end

    Process.sleep(@pause_ms)
    if :atomics.get(stop, 1) == 0, do: append(worker, n + 1, calls, stop)
  end

  # ---- watching

  defp watch(started, for_ms, samples, at, calls) do
    Process.sleep(@sample_ms)
    now = now()
    sample = sample(now - started)

    at =
      if now >= at.line_at do
        line(sample, at, calls)
        %{at | line_at: at.line_at + 60_000}
      else
        at
      end

    at =
      if now >= at.restart_at do
        restart(rem(at.restarts, 3))
        %{at | restarts: at.restarts + 1, restart_at: at.restart_at + @restart_ms}
      else
        at
      end

    samples = [sample | samples]
    if now - started < for_ms, do: watch(started, for_ms, samples, at, calls), else: Enum.reverse(samples)
  end

  defp restart(0), do: {:ok, _} = :convex_sidecar.restart(:restless)
  defp restart(1), do: signal("TERM")
  defp restart(2), do: signal("KILL")

  defp signal(name) do
    with pid when is_integer(pid) <- :convex_sidecar_port.os_pid(:restless), do: System.cmd("kill", ["-#{name}", "#{pid}"])
  end

  defp sample(at_ms) do
    :erlang.garbage_collect()
    pids = for name <- @names, do: {name, :convex_sidecar_port.os_pid(name)}
    vm = System.pid()
    steady = pids[:steady]

    %{
      min: at_ms / 60_000,
      vm_mb: rss_mb(vm),
      beam_mb: :erlang.memory(:total) / 1.0e6,
      vm_fds: fds(vm),
      steady_mb: rss_mb(steady),
      steady_fds: fds(steady),
      restless_mb: rss_mb(pids[:restless]),
      restless_fds: fds(pids[:restless]),
      processes: length(Process.list()),
      ports: length(Port.list())
    }
  end

  # Anonymous memory; the mapped store is the page cache's.
  defp rss_mb(pid) do
    with {:ok, text} <- File.read("/proc/#{pid}/status"),
         [_, kb] <- Regex.run(~r/RssAnon:\s+(\d+) kB/, text),
         do: String.to_integer(kb) / 1024,
         else: (_ -> nil)
  end

  defp fds(pid) do
    with {:ok, names} <- File.ls("/proc/#{pid}/fd"), do: length(names), else: (_ -> nil)
  end

  defp line(s, at, calls) do
    m = for name <- @names, do: metrics(name)
    sum = fn key -> m |> Enum.map(&Map.get(&1, key, 0)) |> Enum.sum() end

    numbers = [
      s.min,
      s.vm_mb,
      s.vm_fds,
      s.steady_mb,
      s.steady_fds,
      s.restless_mb,
      s.restless_fds,
      Soak.Log.appended(),
      sum.(:kept_total),
      sum.(:delivered_total),
      sum.(:pending),
      at.restarts,
      :counters.get(calls, 2)
    ]

    widths = [6, 9, 9, 11, 5, 13, 5, 10, 6, 11, 9, 10, 14]
    IO.puts(numbers |> Enum.zip(widths) |> Enum.map_join(fn {n, w} -> n |> short() |> String.pad_leading(w) end))
  end

  # Of the processes that run: a restarted one counts from 0.
  defp metrics(name) do
    case :convex_sidecar.status(name, 2000) do
      {:ok, %{metrics: metrics}} -> metrics
      {:error, _} -> %{}
    end
  end

  defp short(nil), do: "-"
  defp short(n) when is_integer(n), do: Integer.to_string(n)
  defp short(n), do: :erlang.float_to_binary(n / 1, decimals: 1)

  # ---- the verdict

  defp verdict(ids, samples, calls) do
    # The first third warms up: tables fill, allocators find their size.
    warm = Enum.drop(samples, div(length(samples), 3))
    IO.puts("")

    trends =
      for {key, slack} <- [
            vm_mb: 6.0,
            beam_mb: 3.0,
            vm_fds: 1,
            processes: 3,
            ports: 1,
            steady_mb: 2.0,
            steady_fds: 2,
            restless_mb: 3.0,
            restless_fds: 3
          ] do
        values = for %{^key => v, min: t} <- warm, v != nil, do: {t, v}
        flat(key, values, slack)
      end

    lost = lost(ids)
    failed = :counters.get(calls, 2)

    IO.puts(
      "calls that waited: #{:counters.get(calls, 1)} answered, #{failed} failed; runs: #{length(ids)}, events: #{Soak.Log.appended()}, lost: #{length(lost)}"
    )

    for what <- Enum.take(lost, 10), do: IO.puts("  #{inspect(what)}")
    good = Enum.all?(trends) and lost == [] and failed == 0
    IO.puts(if good, do: "soak: flat, and nothing lost", else: "soak: FAILED")
    for name <- @names, do: :convex_sidecar.stop(name)
    System.halt(if good, do: 0, else: 1)
  end

  # By the straight line through all samples: what it rises from the first to the last of them
  # may be 10 % of the mean, or the slack that sampling needs.
  defp flat(key, values, slack) do
    n = length(values)
    {mt, mv} = {mean(values, 0), mean(values, 1)}
    over = values |> Enum.map(fn {t, v} -> (t - mt) * (v - mv) end) |> Enum.sum()
    under = values |> Enum.map(fn {t, _} -> (t - mt) * (t - mt) end) |> Enum.sum()
    slope = if under > 0, do: over / under, else: 0.0
    span = elem(List.last(values), 0) - elem(hd(values), 0)
    rise = slope * span
    good = rise <= max(slack, mv * 0.1)

    IO.puts(
      "#{String.pad_trailing(to_string(key), 13)} mean #{short(mv)}, rises #{short(rise)} over #{short(span)} minutes (#{n} samples): #{if good, do: "flat", else: "RISES"}"
    )

    good
  end

  defp mean(values, i), do: (values |> Enum.map(&elem(&1, i)) |> Enum.sum()) / length(values)

  # Every run: its events, the checkpoint of its sidecar, and its document in Convex.
  defp lost(ids) do
    {out, 0} = System.cmd("node", ["test/convex/read.mjs"])
    documents = for line <- String.split(out, "\n", trim: true), into: %{}, do: line |> String.split("\t") |> List.to_tuple()

    for id <- ids, last = Soak.Log.last(id), last > 0, why = wrong(id, last, documents), do: {id, last, why}
  end

  defp wrong(id, last, documents) do
    document_id = Summary.document_id(:run_summary, id)
    owner = OpenAgentsRuntime.Convex.Sidecars.owner(@names, document_id)

    with {:ok, %{seq: ^last, event_count: ^last, delivered_seq: ^last}} <- :convex_sidecar.checkpoint(owner, document_id),
         true <- (documents[document_id] || "") =~ ~s("latest_seq":#{last},) do
      nil
    else
      other -> other
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
end

Soak.main()
