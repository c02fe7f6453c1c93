# append.exs - what an append costs the process that makes it, whatever becomes of the sidecar and
# of Convex: a table of p50 and p99, and the ratio to the same append with projection switched off.
#
#   make bench ROW=append_latency   (inside the bench)
#   test/bench/append               (by itself; needs make all bench-programs)
#
# An append is DiskEventLog.append_event (one synced write) or an insert into a table (a log that
# costs nothing, so that the projection's share shows), followed by Projector.project_run_async.
Code.ensure_loaded?(Bench.Kit) || Code.require_file("kit.exs", __DIR__)

defmodule Bench.Append.Memory do
  @moduledoc "An event log that costs an insert."
  @behaviour OpenAgentsRuntime.Convex.EventLog
  @t ~U[2026-02-19 20:00:00.123456Z]

  def new do
    if :ets.whereis(__MODULE__) == :undefined,
      do: :ets.new(__MODULE__, [:named_table, :public, :set, write_concurrency: true])
  end

  def create_run(id), do: :ets.insert(__MODULE__, {id, 0})
  def append_event(id), do: {:ok, :ets.update_counter(__MODULE__, id, 1)}

  @impl true
  def row(:run_summary, id) do
    case :ets.lookup(__MODULE__, id) do
      [{_, seq}] -> {:ok, %{run_id: id, thread_id: "t", status: "running", latest_seq: seq, updated_at: @t}}
      [] -> :error
    end
  end

  @impl true
  def events_after(:run_summary, id, seq, limit) do
    [{_, last}] = :ets.lookup(__MODULE__, id)
    for s <- (seq + 1)..min(last, seq + limit)//1, do: %{seq: s, event_type: "run.delta", inserted_at: @t}
  end

  @impl true
  def ids(_kind, _after, _limit), do: []
end

defmodule Bench.Append do
  import Bench.Kit
  alias Bench.Append.Memory
  alias OpenAgentsRuntime.Convex.{DiskEventLog, HttpSink, NoopSink, Projector}

  @runs 200
  @turns 7
  @target 1.5

  @doc """
  Every line of the table: `%{log, case, p50, p99, max, off_p50, off_p99}` in microseconds, lists of turns.
  With and without projection take turns, beside the same sidecar in the same trouble.
  """
  def measure do
    {:ok, _} = Application.ensure_all_started(:convex_sidecar)
    Logger.configure(level: :none)
    dir = tmp_dir()
    {:ok, disk} = DiskEventLog.start_link(dir: dir)
    Memory.new()
    for i <- 1..@runs, do: Memory.create_run("run_#{i}") && DiskEventLog.create_run("run_#{i}", %{thread_id: "t", status: "running"})

    lines =
      for {what, around} <- cases(), do: around.(fn -> for {log, n} <- [{Memory, 20_000}, {DiskEventLog, 400}], do: line(log, what, n) end)

    GenServer.stop(disk)
    File.rm_rf!(dir)
    for log <- [Memory, DiskEventLog], %{log: ^log} = line <- List.flatten(lines), do: line
  end

  defp line(log, what, n) do
    turns = for _ <- 1..@turns, do: {rest() && appends(log, n, NoopSink), rest() && appends(log, n, HttpSink)}
    of = fn which, key -> for turn <- turns, do: turn |> elem(which) |> Map.fetch!(key) end
    %{log: log, case: what, off_p50: of.(0, :p50), off_p99: of.(0, :p99), p50: of.(1, :p50), p99: of.(1, :p99), max: Enum.max(of.(1, :max))}
  end

  # Nothing of the turn before is still under way; a frozen sidecar gets half a second.
  defp rest, do: :convex_sidecar.settle(Application.fetch_env!(:openagents_runtime, :convex_sidecar)[:name], 500) != nil

  defp cases do
    [
      {"Convex healthy", &with_sidecar(0, &1)},
      {"Convex slow (100 ms)", &with_sidecar(100_000, &1)},
      {"Convex down", &with_sidecar(:down, &1)},
      {"sidecar killed every 300 ms", &with_sidecar(:killed, &1)},
      {"sidecar frozen", &with_sidecar(:frozen, &1)}
    ]
  end

  defp with_sidecar(how, run) do
    stub = start_stub()
    s = start_sidecar(if(how == :down, do: %{url: "http://127.0.0.1:1"}, else: stub), instance: [backoff_min_ms: 20])
    Application.put_env(:openagents_runtime, :convex_sidecar, name: s.name)
    if is_integer(how), do: stub(stub, "/latency/#{how}")
    killer = trouble(how, s)
    lines = run.()
    if killer, do: Process.exit(killer, :kill)
    if how == :frozen, do: signal(s.pid, "CONT")
    :ok = :convex_sidecar.await(s.name, 20_000)
    :ok = :convex_sidecar.settle(s.name, 60_000)
    stop_sidecar(s)
    stop_stub(stub)
    lines
  end

  defp trouble(:frozen, s), do: signal(s.pid, "STOP") && nil
  defp trouble(:killed, s), do: spawn(fn -> kill(s) end)
  defp trouble(_how, _s), do: nil

  defp kill(s) do
    with pid when is_integer(pid) <- :convex_sidecar_port.os_pid(s.name), do: signal(pid, "KILL")
    Process.sleep(300)
    kill(s)
  end

  defp signal(pid, name), do: System.cmd("kill", ["-#{name}", "#{pid}"], stderr_to_stdout: true)

  # Two processes append; the first quarter is warm-up.
  defp appends(log, n, sink) do
    times =
      1..2
      |> Enum.map(fn w ->
        Task.async(fn -> for i <- 1..div(n, 2), do: pause(log) && timed(log, sink, "run_#{rem(i * 2 + w, @runs) + 1}") end)
      end)
      |> Task.await_many(300_000)
      |> Enum.flat_map(&Enum.drop(&1, div(n, 8)))

    %{p50: percentile(times, 0.5) / 1000, p99: percentile(times, 0.99) / 1000, max: Enum.max(times) / 1000}
  end

  defp timed(log, sink, id) do
    t0 = now_ns()
    {:ok, _} = append(log, id)
    :ok = Projector.project_run_async(id, event_log: log, sink: sink)
    now_ns() - t0
  end

  # Two appenders that go on at once fall into step, and share one sync of the disk, or out of step, and
  # wait for two, by chance and for long.  Pauses of 0 to 2 ms make every case meet both.
  defp pause(Memory), do: true
  defp pause(DiskEventLog), do: Process.sleep(:rand.uniform(3) - 1) == :ok

  defp append(Memory, id), do: Memory.append_event(id)
  defp append(DiskEventLog, id), do: DiskEventLog.append_event(id, "run.delta")

  @doc "The table, as text."
  def print(lines) do
    IO.puts("append and project_run_async, us              p50 off      on   ratio   p99 off      on   ratio     max")

    for line <- lines do
      log = line.log |> Module.split() |> List.last()
      [off50, on50, off99, on99] = for key <- [:off_p50, :p50, :off_p99, :p99], do: median(line[key])

      IO.puts(
        String.pad_trailing("#{log}: #{line.case}", 44) <>
          num(off50) <> num(on50) <> num(on50 / off50) <> num(off99, 10) <> num(on99) <> num(on99 / off99) <> num(line.max)
      )
    end

    worst = for(%{log: DiskEventLog} = line <- lines, do: median(line.p50) / median(line.off_p50)) |> Enum.max()
    IO.puts("\ndurable append: p50 at most #{Float.round(worst, 2)} times that without projection (target #{@target})")
  end

  defp num(n, width \\ 8), do: n |> Kernel./(1) |> :erlang.float_to_binary(decimals: 1) |> String.pad_leading(width)
end

if System.get_env("BENCH_APPEND") == "1", do: Bench.Append.measure() |> Bench.Append.print()
