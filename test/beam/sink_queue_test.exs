defmodule OpenAgentsRuntime.Convex.SinkQueueTest do
  use SidecarCase, async: false

  alias OpenAgentsRuntime.Convex.{Projector, SinkQueue}

  # A sink that waits until the test says so, and tells how many of it run at once.
  defmodule SlowSink do
    @behaviour OpenAgentsRuntime.Convex.Sink
    @impl true
    def upsert_run_summary(id, summary, opts) do
      send(opts[:test], {:begun, self(), id, summary["latest_seq"]})

      receive do
        :go -> :ok
      end
    end

    @impl true
    def upsert_codex_worker_summary(_id, _summary, _opts), do: :ok
  end

  defmodule QuickSink do
    @behaviour OpenAgentsRuntime.Convex.Sink
    @impl true
    def upsert_run_summary(id, summary, opts), do: opts[:test] |> send({:sunk, id, summary["latest_seq"]}) && :ok
    @impl true
    def upsert_codex_worker_summary(_id, _summary, _opts), do: :ok
  end

  setup do
    configure(:convex_event_log, MemoryLog)

    on_exit(fn ->
      configure(:convex_sink_queue_limit, nil)
      configure(:convex_sink_workers, nil)
    end)

    %{log: MemoryLog.new()}
  end

  defp async(id, sink), do: Projector.project_run_async(id, sink: sink, sink_opts: [test: self()])

  defp release(pids), do: Enum.each(pids, &send(&1, :go))
  defp done, do: wait_until(fn -> SinkQueue.backlog() == %{marks: 0, sweeps: 0, working: 0} end)

  defp begun(n) do
    for _ <- 1..n do
      assert_receive {:begun, pid, _id, _seq}, 5000
      pid
    end
  end

  test "few at once, however many are marked; a mark costs microseconds", %{log: log} do
    for i <- 1..500, do: MemoryLog.add(log, "r#{i}", 1)
    processes = length(Process.list())
    {us, _} = :timer.tc(fn -> for _ <- 1..10, i <- 1..500, do: :ok = async("r#{i}", SlowSink) end)
    assert us / 5000 < 200
    first = begun(4)
    refute_receive {:begun, _, _, _}, 50
    assert %{marks: marks, working: 4} = SinkQueue.backlog()
    # Of the entities at work some were marked again before their turn, some after.
    assert marks in 496..500
    assert length(Process.list()) < processes + 50
    {:ok, %{dirty: marks}} = :convex_sidecar_instance.lookup(SinkQueue)
    :ets.delete_all_objects(marks)
    release(first)
    done()
  end

  test "marked while it is at work: one more turn, with the newest events, and not two at once", %{log: log} do
    MemoryLog.add(log, "a", 1)
    async("a", SlowSink)
    assert_receive {:begun, pid, "runtime/run_summary:a", 1}
    for _ <- 1..20, do: MemoryLog.append(log, "a", 1) && async("a", SlowSink)
    refute_receive {:begun, _, _, _}, 50
    send(pid, :go)
    assert_receive {:begun, pid, _, 21}
    send(pid, :go)
    refute_receive {:begun, _, _, _}, 50
    done()
  end

  test "a free worker begins while another is at work; other options wait for the entity's turn to end", %{log: log} do
    for id <- ~w(a b), do: MemoryLog.add(log, id, 1)
    async("a", SlowSink)
    [first] = begun(1)
    async("b", SlowSink)
    [second] = begun(1)
    for _ <- 1..3, do: :ok = Projector.project_run_async("a", sink: SlowSink, sink_opts: [test: self(), other: true])
    refute_receive {:begun, _, _, _}, 50
    assert %{marks: 1, working: 2} = SinkQueue.backlog()
    release([first])
    [third] = begun(1)
    release([second, third])
    done()
    refute_received {:begun, _, _, _}
  end

  test "when the queue crashes, its workers end with it and have their turn again", %{log: log} do
    for id <- ~w(a b), do: MemoryLog.add(log, id, 1)
    configure(:convex_sink_workers, 1)
    async("a", SlowSink)
    [first] = begun(1)
    async("b", SlowSink)
    monitor = Process.monitor(first)
    SinkQueue |> :convex_sidecar_instance.conveyor_name() |> Process.whereis() |> Process.exit(:kill)
    assert_receive {:DOWN, ^monitor, _, _, _}, 5000
    for _ <- 1..2, do: release(begun(1))
    done()
  end

  test "sweeps are bounded too: who makes options up is told", %{log: log} do
    configure(:convex_sink_queue_limit, 0)
    configure(:convex_sink_workers, 0)
    watch_telemetry()
    mark = fn i -> SinkQueue.mark(:run_summary, "a", sink: QuickSink, sink_opts: [test: self(), i: i]) end
    for i <- 1..100, do: assert(mark.(i) == :ok)
    assert mark.(1) == :ok
    assert mark.(101) == {:error, :busy}
    MemoryLog.add(log, "r", 1)
    configure(:convex_sink_workers, 4)
    SinkQueue |> :convex_sidecar_instance.conveyor_name() |> send(:wake)
    for _ <- 1..100, do: assert_receive({:sunk, _, 1}, 5000)
    done()
  end

  test "too many marks: all ids are looked at", %{log: log} do
    configure(:convex_sink_queue_limit, 10)
    for i <- 1..2500, do: MemoryLog.add(log, "r#{i}", 1)
    MemoryLog.add(log, "0", 1)
    configure(:convex_sink_workers, 1)
    async("0", SlowSink)
    [pid] = begun(1)
    for i <- 1..2500, do: :ok = async("r#{i}", QuickSink)
    assert %{marks: 10, sweeps: 1} = SinkQueue.backlog()
    send(pid, :go)
    for i <- 1..2500, do: assert_receive({:sunk, "runtime/run_summary:" <> _, 1}, 5000, "r#{i}")
    done()
  end

  test "an event log that fails: the sweep is made again; a sink that fails holds up nobody", %{log: log} do
    configure(:convex_sink_queue_limit, 1)
    for i <- 1..20, do: MemoryLog.add(log, "r#{i}", 1)
    configure(:convex_sink_workers, 1)
    MemoryLog.add(log, "0", 1)
    async("0", SlowSink)
    [pid] = begun(1)
    for i <- 1..20, do: :ok = async("r#{i}", QuickSink)
    MemoryLog.fail(log, :all, true)
    send(pid, :go)
    wait_until(fn -> match?(%{marks: 0, sweeps: 1}, SinkQueue.backlog()) end)
    MemoryLog.fail(log, :all, false)
    for i <- 1..20, do: assert_receive({:sunk, "runtime/run_summary:r" <> _, 1}, 5000, "r#{i}")
    done()
  end

  test "when it is not there, the append goes on and the failure is told", %{log: log} do
    MemoryLog.add(log, "r", 1)
    watch_telemetry()
    {:dictionary, dictionary} = SinkQueue |> Process.whereis() |> Process.info(:dictionary)
    [sup | _] = dictionary[:"$ancestors"]
    :ok = Supervisor.terminate_child(sup, SinkQueue)
    assert async("r", QuickSink) == :ok
    assert_received {:telemetry, :write_failure, _, %{reason_class: "unavailable"}}
    {:ok, _} = Supervisor.restart_child(sup, SinkQueue)
    assert async("r", QuickSink) == :ok
    assert_receive {:sunk, _, 1}, 5000
    done()
  end
end
