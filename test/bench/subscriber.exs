# subscriber.exs - how old a change is when it leaves for Convex, and when a subscriber sees it:
# append (in this VM) -> POST at the stand-in, and -> change in a ConvexClient that is signed in and
# watches four runs.  Quiet: one of them changes four times a second.  Busy: 100 runs change 500
# times a second together, the four among them.
#
#   make subscriber            (SECONDS=30 each)
#
# The clock of all is CLOCK_MONOTONIC.  A version that another one overtook counts up to the write,
# or the change, that has it.
Code.require_file("kit.exs", __DIR__)
Code.require_file("append.exs", __DIR__)

defmodule Bench.Subscriber.Log do
  @moduledoc "Bench.Append.Memory, its runs owned by the user who watches."
  @behaviour OpenAgentsRuntime.Convex.EventLog
  alias Bench.Append.Memory

  @impl true
  def row(:run_summary, id), do: with({:ok, row} <- Memory.row(:run_summary, id), do: {:ok, Map.put(row, :owner_user_id, 42)})
  @impl true
  defdelegate events_after(kind, id, seq, limit), to: Memory
  @impl true
  defdelegate ids(kind, after_id, limit), to: Memory
end

defmodule Bench.Subscriber do
  import Bench.Kit
  alias Bench.Append.Memory
  alias OpenAgentsRuntime.Convex.{HttpSink, Projector}

  @runs 100
  @watched 4
  # However slow the machine is: what is late is measured, not given up.
  @patience_ms 600_000

  def main do
    ready = File.read!(Path.join(System.fetch_env!("STANDIN_STATE"), "ready.json"))
    [url, key] = for name <- ["url", "admin_key"], do: ready |> then(&Regex.run(~r/"#{name}": *"([^"]*)"/, &1)) |> Enum.at(1)
    seconds = String.to_integer(System.get_env("SECONDS") || "30")
    s = start_sidecar(%{url: url}, sink: [admin_key: key])
    Application.put_env(:openagents_runtime, :convex_event_log, Bench.Subscriber.Log)
    Application.put_env(:openagents_runtime, :convex_projection_sink, HttpSink)
    Application.put_env(:openagents_runtime, :convex_sidecar, name: s.name)
    Memory.new()
    ids = for i <- 1..@runs, do: "sub_#{i}"
    Enum.each(ids, &Memory.create_run/1)
    Enum.each(ids, &append/1)
    {:ok, _} = :convex_sidecar.flush(s.name, @patience_ms)
    client = subscribe(Enum.take(ids, @watched))

    IO.puts(
      "machine: #{System.schedulers_online()} cores, OTP #{System.otp_release()}, load #{File.read!("/proc/loadavg") |> String.split() |> hd()}, #{seconds} s each"
    )

    IO.puts("| | updates | -> POST p50, p99 (ms) | -> subscriber p50, p99 (ms) | writes |\n| --- | --- | --- | --- | --- |")
    phase(s, client, "quiet: 4 updates/s", Enum.take(ids, @watched), 4, seconds)
    phase(s, client, "busy: 500 updates/s of #{@runs} runs", ids, 500, seconds)
    Port.close(client)
    stop_sidecar(s)
  end

  defp append(id) do
    ns = :os.perf_counter(:nanosecond)
    {:ok, seq} = Memory.append_event(id)
    :ok = Projector.project_run_async(id)
    {id, seq, div(ns, 1000)}
  end

  defp subscribe(ids) do
    script = Path.join(root(), "test/convex/subscriber.mjs")
    documents = for id <- ids, do: "runtime/run_summary:" <> id

    client =
      Port.open({:spawn_executable, System.find_executable("node")}, [:binary, :exit_status, line: 10_000, args: [script | documents]])

    "ready" = line(client)
    client
  end

  defp line(client) do
    receive do
      {^client, {:data, {:eol, text}}} -> text
      {^client, {:exit_status, status}} -> raise "the subscriber ended with #{status}"
    after
      @patience_ms -> raise "the subscriber says nothing"
    end
  end

  defp phase(s, client, what, ids, rate, seconds) do
    {us, stamps} = :timer.tc(fn -> paced(ids, rate, rate * seconds) end)
    {:ok, _} = :convex_sidecar.flush(s.name, @patience_ms)
    file = Path.join(tmp_dir(), "stamps")
    File.write!(file, for({id, seq, us} <- stamps, do: "runtime/run_summary:#{id} #{seq} #{us}\n"))
    Port.command(client, file <> "\n")
    r = client |> line() |> words()
    two = fn a, b -> "#{ms(r[a])}, #{ms(r[b])}" end

    IO.puts(
      "| #{what} | #{length(stamps)}, #{round(length(stamps) * 1_000_000 / us)}/s | #{two.(:post_p50, :post_p99)} | #{two.(:seen_p50, :seen_p99)} (of #{trunc(r.seen)}) | #{trunc(r.writes)} |"
    )
  end

  # So many appends, each at its time; one that is late does not delay the others.
  defp paced(ids, rate, n) do
    begun = now_us()

    for i <- 0..(n - 1) do
      # within its slot at a place of its own, so that nothing falls into step
      due = begun + div((i * 1000 + :rand.uniform(999)) * 1000, rate)
      wait = div(due - now_us(), 1000)
      if wait > 0, do: Process.sleep(wait)
      append(Enum.at(ids, rem(i, length(ids))))
    end
  end

  defp ms(us), do: :erlang.float_to_binary(us / 1000, decimals: 1)
end

:logger.set_primary_config(:level, :error)
Bench.Subscriber.main()
