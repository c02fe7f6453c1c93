defmodule ConvexSidecar.LooksTest do
  # What was handed over is looked at again (docs/adr/0014-the-log-and-second-looks.md).
  # Not async: MemoryLog as an event log of Elixir reads the table that was made last, whoever made it.
  use SidecarCase, async: false

  defmodule Many do
    @moduledoc "The log as one that reads many at once, may be inside a transaction, and counts its reads."
    @behaviour :convex_sidecar_source
    @impl true
    def row(kind, id, {arg, _}), do: MemoryLog.row(kind, id, arg)
    @impl true
    def events_after(kind, id, seq, limit, {arg, _}), do: MemoryLog.events_after(kind, id, seq, limit, arg)
    @impl true
    def ids(kind, after_id, limit, {arg, _}), do: MemoryLog.ids(kind, after_id, limit, arg)
    @impl true
    def many(_arg), do: true

    @impl true
    def rows(kind, ids, {arg, counter}) do
      :counters.add(counter, 1, 1)
      for id <- ids, {:ok, row} <- [MemoryLog.row(kind, id, arg)], into: %{}, do: {id, row}
    end

    @impl true
    def events_of(kind, froms, limit, {arg, counter}) do
      :counters.add(counter, 1, 1)
      for {id, seq} <- froms, into: %{}, do: {id, MemoryLog.events_after(kind, id, seq, limit, arg)}
    end

    @impl true
    def changed_since(kind, _since_ms, limit, {arg, _counter}) do
      case Process.whereis(:changed_now) do
        nil -> {:all, []}
        _ -> {:all, Enum.take(MemoryLog.ids(kind, nil, limit, arg), -1)}
      end
    end

    @impl true
    def in_transaction(_arg), do: Process.get(:in_transaction, false)
  end

  setup do
    %{log: MemoryLog.new()}
  end

  defp mark(name, log, id), do: :ok = :convex_sidecar.project_async(name, :run_summary, id, log)
  defp settle(name), do: :ok = :convex_sidecar.settle(name, 10_000)
  defp document(fake, id), do: FakeSidecar.documents(fake)["runtime/run_summary:#{id}"]
  defp info(name), do: elem(:convex_sidecar_instance.lookup(name), 1)
  defp looks(name), do: :ets.info(info(name).looks, :size)
  defp batches(fake), do: for({:batch, requests} <- FakeSidecar.requests(fake), do: length(requests))

  test "a row that changes after its last event is seen, in both forms", %{log: log} do
    {name, fake} = start_fake()
    for id <- ~w(async call), do: MemoryLog.add(log, id, 2)
    mark(name, log, "async")
    {:ok, _} = :convex_sidecar_source.project(name, log, :run_summary, "call", %{})
    settle(name)
    # At once, and once more after the first look.
    for status <- ~w(succeeded archived) do
      for id <- ~w(async call), do: MemoryLog.update(log, id, %{status: status})
      wait_until(fn -> for(id <- ~w(async call), do: document(fake, id).row.status) == [status, status] end, 3000)
      Process.sleep(300)
    end
  end

  test "a look that finds all as it was sends nothing, and two of them are all", %{log: log} do
    {name, fake} = start_fake()
    MemoryLog.add(log, "a", 1)
    mark(name, log, "a")
    settle(name)
    assert looks(name) == 1
    wait_until(fn -> looks(name) == 0 end)
    assert batches(fake) == [1]
  end

  test "looks are grouped: two queries for hundreds of entities", %{log: {_, arg} = log} do
    {name, _fake} = start_fake()
    counter = :counters.new(1, [])
    for i <- 1..400, do: MemoryLog.add(log, "r#{i}", 1)
    for i <- 1..400, do: mark(name, {Many, {arg, counter}}, "r#{i}")
    settle(name)
    before = :counters.get(counter, 1)
    assert looks(name) == 400
    wait_until(fn -> looks(name) == 0 end, 8000)
    # Two looks of each, in slots of 100 ms.
    assert :counters.get(counter, 1) - before <= 24
  end

  test "what waits for its look does not lie on the heap of the conveyor", %{log: {_, arg} = log} do
    {name, _fake} = start_fake()
    conveyor = name |> :convex_sidecar_instance.conveyor_name() |> Process.whereis()
    for i <- 1..5000, do: MemoryLog.add(log, "r#{i}", 1)
    for i <- 1..5000, do: mark(name, {Many, {arg, :counters.new(1, [])}}, "r#{i}")
    settle(name)
    :erlang.garbage_collect(conveyor)
    assert looks(name) == 5000
    {_, sizes} = Process.info(conveyor, :garbage_collection_info)
    assert sizes[:heap_size] + sizes[:old_heap_size] < 20_000
  end

  test "those that are read one by one have all their looks, some in each group", %{log: log} do
    {name, fake} = start_fake()
    for i <- 1..300, do: MemoryLog.add(log, "r#{i}", 1)
    for i <- 1..300, do: mark(name, log, "r#{i}")
    settle(name)
    for i <- 1..300, do: MemoryLog.update(log, "r#{i}", %{status: "done"})
    wait_until(fn -> Enum.all?(1..300, &(document(fake, "r#{&1}").row.status == "done")) end, 8000)
    wait_until(fn -> looks(name) == 0 end, 10_000)
  end

  test "what is marked in a transaction is looked at until it is there", %{log: {_, arg} = log} do
    {name, fake} = start_fake()
    source = {Many, {arg, :counters.new(1, [])}}
    MemoryLog.add(log, "old", 1)
    mark(name, source, "old")
    settle(name)
    Process.put(:in_transaction, true)
    for id <- ~w(old new), do: mark(name, source, id)
    settle(name)
    # After the looks that everything gets.
    Process.sleep(2600)
    MemoryLog.add(log, "new", 2)
    MemoryLog.append(log, "old", 1)
    wait_until(fn -> match?(%{folded: 2}, document(fake, "new")) and document(fake, "old").folded == 2 end, 2500)
  end

  test "what no look can see is found by what has changed since", %{log: {_, arg} = log} do
    {name, fake} = start_fake(look_back_ms: 1000)
    counter = :counters.new(1, [])
    for id <- ~w(a b), do: MemoryLog.add(log, id, 1)
    source = {Many, {arg, counter}}
    :ok = :convex_sidecar.project_all_async(name, :run_summary, source)
    settle(name)
    # Nobody marks these, and a sweep leads to no look.
    assert looks(name) == 0
    for id <- ~w(a b), do: MemoryLog.update(log, id, %{status: "done"})
    Process.register(self(), :changed_now)
    wait_until(fn -> document(fake, "b").row.status == "done" end)
    assert document(fake, "a").row.status == "running"
    refute_received {:log, _, %{event: "conveyor.sweep"}, _}
  end

  test "the version that a call asked for stays, whatever a mark before it said", %{log: log} do
    {name, fake} = start_fake()
    MemoryLog.add(log, "a", 1)
    source = fn version -> {OpenAgentsRuntime.Convex.Source, {:version, MemoryLog, version}} end
    mark(name, source.("v1"), "a")
    settle(name)
    {:ok, _} = :convex_sidecar_source.project(name, source.("v9"), :run_summary, "a", %{projection_version: "v9"})
    MemoryLog.update(log, "a", %{status: "done"})
    wait_until(fn -> document(fake, "a").row.status == "done" end)
    wait_until(fn -> looks(name) == 0 end)

    [first | later] =
      for {:batch, requests} <- FakeSidecar.requests(fake), {:project, _, _, _, _, opts} <- requests, do: opts.projection_version

    assert first == "v1" and later != [] and Enum.uniq(later) == ["v9"]
  end

  test "while the log is shorter than the fold nothing is written; then it goes below", %{log: log} do
    {name, fake} = start_fake()
    MemoryLog.add(log, "a", 5)
    mark(name, log, "a")
    settle(name)
    for seq <- 4..5, do: MemoryLog.lose(log, "a", seq)
    MemoryLog.update(log, "a", %{latest_seq: 3, status: "older"})
    mark(name, log, "a")
    settle(name)
    assert %{folded: 5, row: %{status: "running"}} = document(fake, "a")
    sent = length(batches(fake))
    # The look after a second.
    wait_until(fn -> length(batches(fake)) > sent end, 2000)
    assert %{folded: 5} = document(fake, "a")
    # The conveyor goes; what it waits for does not.
    name |> :convex_sidecar_instance.conveyor_name() |> Process.whereis() |> Process.exit(:kill)
    key = {:run_summary, "a"}
    [{:look, ^key, ^log, _slot, _at, seen, asked, stage, until, since}] = :ets.lookup(info(name).looks, key)
    :ets.insert(info(name).looks, {:look, key, log, 0, :none, seen, asked, stage, until, since - 30_000})
    name |> :convex_sidecar_instance.conveyor_name() |> Process.whereis() |> Process.exit(:kill)
    wait_until(fn -> match?(%{folded: 3, count: 3, row: %{status: "older"}}, document(fake, "a")) end, 8000)
    wait_until(fn -> looks(name) == 0 end)
  end

  test "a transaction that is still open: its events come back before the document goes below", %{log: log} do
    {name, fake} = start_fake()
    MemoryLog.add(log, "a", 5)
    {:ok, _} = :convex_sidecar_source.project(name, log, :run_summary, "a", %{})
    MemoryLog.lose(log, "a", 5)
    MemoryLog.update(log, "a", %{latest_seq: 4})
    assert {:ok, %{reason: "checkpoint_ahead", write: "skipped"}} = :convex_sidecar_source.project(name, log, :run_summary, "a", %{})
    settle(name)
    MemoryLog.append(log, "a", 1)
    MemoryLog.update(log, "a", %{status: "committed"})
    wait_until(fn -> match?(%{folded: 5, row: %{status: "committed"}}, document(fake, "a")) end, 2500)
    refute Enum.any?(FakeSidecar.requests(fake), &match?({:batch, [{_, _, _, _, _, %{below: true}}]}, &1))
  end

  test "what was seen first and rolled back does not pass for what stands", %{log: {_, arg} = log} do
    {name, fake} = start_fake()
    source = {Many, {arg, :counters.new(1, [])}}
    conveyor = name |> :convex_sidecar_instance.conveyor_name() |> Process.whereis()
    MemoryLog.add(log, "a", 1)
    # The conveyor hears of both calls at once.
    :ok = :sys.suspend(conveyor)
    {:ok, _} = :convex_sidecar_source.project(name, source, :run_summary, "a", %{})
    Process.sleep(2)
    Process.put(:in_transaction, true)
    MemoryLog.append(log, "a", 1)
    MemoryLog.update(log, "a", %{status: "ghost"})
    {:ok, _} = :convex_sidecar_source.project(name, source, :run_summary, "a", %{})
    MemoryLog.lose(log, "a", 2)
    MemoryLog.update(log, "a", %{latest_seq: 1, status: "running"})
    :ok = :sys.resume(conveyor)
    wait_until(fn -> match?([{:look, _, _, _, _, _, _, _, _, since}] when is_integer(since), :ets.tab2list(info(name).looks)) end)
    assert document(fake, "a").folded == 2
    [{:look, key, _, _, _, _, _, _, _, since}] = :ets.tab2list(info(name).looks)
    :ets.update_element(info(name).looks, key, {10, since - 30_000})
    wait_until(fn -> match?(%{folded: 1, row: %{status: "running"}}, document(fake, "a")) end)
  end

  test "more looks than there is room for: all of the kind is looked at, once there is room", %{log: log} do
    watch_log()
    {name, fake} = start_fake(dirty_limit: 10)
    for i <- 1..30, do: MemoryLog.add(log, "r#{i}", 1)
    for i <- 1..30, do: {:ok, _} = :convex_sidecar_source.project(name, log, :run_summary, "r#{i}", %{})
    settle(name)
    for i <- 1..30, do: MemoryLog.update(log, "r#{i}", %{status: "done"})
    assert looks(name) <= 10
    done? = fn -> Enum.all?(1..30, &(document(fake, "r#{&1}").row.status == "done")) end
    wait_until(done?, 5000)
    assert_received {:log, :warning, %{event: "conveyor.sweep", instance: ^name}, _}
  end
end
