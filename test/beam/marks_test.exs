defmodule ConvexSidecar.MarksTest do
  @moduledoc """
  The marks without a conveyor: the test takes its place, so that each interleaving is exact; and against the plainest
  model, a set of what has to be looked at, in which nothing is ever forgotten.

      MODEL_RUNS=2000 mix test test/beam/marks_test.exs      (MODEL_SEED=n: that one alone)
  """
  use SidecarCase, async: true

  alias :convex_sidecar_marks, as: Marks

  @moduletag :capture_log

  setup do
    {:ok, house()}
  end

  defp house(options \\ []) do
    name = unique_name("marks")
    defaults = %{dest: {:nobody, node()}, dirty_limit: 4, hint_limit: 10}
    info = :convex_sidecar_instance.open(name, Map.merge(defaults, Map.new(options)))
    on_exit(fn -> :convex_sidecar_instance.close(name) end)
    log = {MemoryLog, {:ets.new(:log, [:ordered_set, :public]), self()}}
    %{name: name, info: info, log: log, marks: Marks.open(info)}
  end

  defp add(c, ids), do: for(id <- ids, do: MemoryLog.add(c.log, id, 1))
  defp mark(c, id), do: :ok = Marks.mark(c.name, :run_summary, id, c.log)
  defp mark_of(c, id), do: {{:run_summary, id}, c.log}
  defp ids(marks), do: for({{_, id}, _} <- marks, do: id)

  # Take and settle until nothing is left; the ids, in the order they were taken.
  defp drain(marks, max \\ 3) do
    case Marks.take(max, marks) do
      {batch, [], [], marks} ->
        {[], Marks.settle(batch, marks)}

      {batch, marked, swept, marks} ->
        with {more, marks} <- drain(Marks.settle(batch, marks), max), do: {ids(marked ++ swept) ++ more, marks}
    end
  end

  test "what changes and overflows while a sweep is under way is looked at again, though the sweep has passed it", c do
    add(c, ~w(a b c d e f))
    :ok = Marks.mark_all(c.name, :run_summary, c.log)
    {batch, [], swept, marks} = Marks.take(2, c.marks)
    assert ids(swept) == ~w(a b)
    marks = Marks.settle(batch, marks)
    # There is no room for a mark of a: the sweep that has passed it begins anew.
    for id <- ~w(w x y z), do: mark(c, id)
    mark(c, "a")
    assert %{dirty: 4, sweeps: 1} = Marks.backlog(c.name)
    {taken, marks} = drain(marks)
    assert Enum.sort(taken) == Enum.sort(~w(w x y z) ++ ~w(c d e f) ++ ~w(a b c d e f))
    refute Marks.has_work(marks)
    assert Marks.backlog(c.name) == %{dirty: 0, in_flight: 0, sweeps: 0}
  end

  test "what a sweep meets on its way is marked, and looked at once that batch is over", c do
    add(c, ~w(a b))
    mark(c, "a")
    {first, [_], [], marks} = Marks.take(1, c.marks)
    :ok = Marks.mark_all(c.name, :run_summary, c.log)
    {second, [], swept, marks} = Marks.take(3, marks)
    assert ids(swept) == ["b"]
    assert {third, [], [], marks} = Marks.take(3, marks)
    marks = Enum.reduce([first, second, third], marks, &Marks.settle/2)
    assert {["a"], marks} = drain(marks)
    refute Marks.has_work(marks)
  end

  test "an entity that several sources mark is in one batch at a time, for each of them", c do
    other = {MemoryLog, {:ets.new(:log, [:ordered_set, :public]), self()}}
    mark(c, "a")
    :ok = Marks.mark(c.name, :run_summary, "a", other)
    {batch, [{{_, "a"}, one}], [], marks} = Marks.take(3, c.marks)
    assert {empty, [], [], marks} = Marks.take(3, marks)
    {_, [{{_, "a"}, two}], [], _} = Marks.take(3, Marks.settle(empty, Marks.settle(batch, marks)))
    assert Enum.sort([one, two]) == Enum.sort([c.log, other])
  end

  test "who dozes is woken by the next mark, once; who has work does not doze", c do
    Process.register(self(), :convex_sidecar_instance.conveyor_name(c.name))
    mark(c, "a")
    refute Marks.doze(c.marks)
    mark(c, "b")
    refute_received :wake
    {batch, [_, _], [], marks} = Marks.take(3, c.marks)
    # What is under way waits for the end of its batch, and wakes nobody before.
    mark(c, "a")
    assert Marks.doze(marks)
    mark(c, "c")
    assert_received :wake
    mark(c, "d")
    refute_received :wake
    {["a", "c", "d"], marks} = drain(Marks.settle(batch, marks))
    assert Marks.doze(marks)
    :ok = Marks.mark_all(c.name, :run_summary, c.log)
    assert_received :wake
    refute Marks.doze(marks)
  end

  test "what waits for an ill log is bounded: beyond dirty_limit it is a sweep", c do
    add(c, ~w(a b c d e f))
    for id <- ~w(a b c d), do: mark(c, id)
    {batch, four, [], marks} = Marks.take(9, c.marks)
    for id <- ~w(e f), do: mark(c, id)
    {next, two, [], marks} = Marks.take(9, marks)
    marks = Enum.reduce(four ++ two, marks, &Marks.later/2)
    marks = Marks.settle(next, Marks.settle(batch, marks))
    assert %{dirty: 0, in_flight: 4, sweeps: 1} = Marks.backlog(c.name)
    assert Marks.has_later(marks)
    marks = Marks.later_again(marks)
    refute Marks.has_later(marks)
    {taken, _} = drain(marks)
    assert Enum.uniq(Enum.sort(taken)) == ~w(a b c d e f)
    assert Marks.backlog(c.name) == %{dirty: 0, in_flight: 0, sweeps: 0}
  end

  test "a sweep whose log raises waits, and begins anew", c do
    add(c, ~w(a b))
    MemoryLog.fail(c.log, :all, true)
    :ok = Marks.mark_all(c.name, :run_summary, c.log)
    {batch, [], [], marks} = Marks.take(3, c.marks)
    marks = Marks.settle(batch, marks)
    assert Marks.has_later(marks)
    refute Marks.has_work(marks)
    MemoryLog.fail(c.log, :all, false)
    assert {["a", "b"], _} = drain(Marks.later_again(marks))
  end

  test "what is given back may be taken at once, although the rest of its batch is on its way", c do
    for id <- ~w(a b c), do: mark(c, id)
    {_batch, [a, b, given], [], marks} = Marks.take(3, c.marks)
    {one, _} = {elem(given, 0), b}
    assert one == {:run_summary, "c"}
    marks = Marks.give_back([given], 1, marks)
    assert Marks.is_busy(a, marks)
    assert {2, [^given], [], marks} = Marks.take(3, marks)
    assert Marks.is_busy(given, marks)
    refute Marks.is_busy(mark_of(c, "d"), marks)
  end

  test "sources beyond the hundredth are busy, and those that are known are not" do
    c = house()
    source = fn i -> {MemoryLog, {i, self()}} end
    for i <- 1..100, do: assert(Marks.mark_all(c.name, :run_summary, source.(i)) == :ok)
    assert Marks.mark_all(c.name, :run_summary, source.(101)) == {:error, :busy}
    assert Marks.mark_all(c.name, :run_summary, source.(100)) == :ok
    assert Marks.has_any(c.name, source.(100))
    refute Marks.has_any(c.name, source.(101))
  end

  test "who begins anew is not woken for what the one before waited for", c do
    Process.register(self(), :convex_sidecar_instance.conveyor_name(c.name))
    assert Marks.doze(c.marks)
    Marks.open(c.info)
    mark(c, "a")
    refute_received :wake
  end

  test "an entity that is marked again and again does not starve the others", c do
    for id <- ~w(a b c d), do: mark(c, id)
    {batch, [_, _] = first, [], marks} = Marks.take(2, c.marks)
    assert ids(first) == ~w(a b)
    marks = Marks.settle(batch, marks)
    mark(c, "a")
    {batch, second, [], marks} = Marks.take(2, marks)
    assert ids(second) == ~w(c d)
    {_, third, [], _} = Marks.take(2, Marks.settle(batch, marks))
    assert ids(third) == ~w(a)
  end

  test "whether anything of a source is left: marked, on its way, waiting, or to be swept", c do
    other = {MemoryLog, {:ets.new(:log, [:ordered_set, :public]), self()}}
    left? = fn -> {Marks.has_any(c.name, c.log), Marks.has_any(c.name, other)} end
    assert left?.() == {false, false}
    mark(c, "a")
    assert left?.() == {true, false}
    {batch, [a], [], marks} = Marks.take(3, c.marks)
    assert left?.() == {true, false}
    marks = Marks.settle(batch, Marks.later(a, marks))
    assert left?.() == {true, false}
    {batch, [^a], [], marks} = Marks.take(3, Marks.later_again(marks))
    marks = Marks.settle(batch, marks)
    assert left?.() == {false, false}
    :ok = Marks.mark_all(c.name, :run_summary, other)
    assert left?.() == {false, true}
    MemoryLog.fail(other, :all, true)
    {batch, [], [], marks} = Marks.take(3, marks)
    Marks.settle(batch, marks)
    assert left?.() == {false, true}
  end

  test "an instance that is gone takes nothing, and has nothing left", c do
    gone = unique_name("gone")
    assert Marks.mark(gone, :run_summary, "a", c.log) == {:error, :unavailable}
    assert Marks.mark_all(gone, :run_summary, c.log) == {:error, :unavailable}
    refute Marks.has_any(gone, c.log)
    assert Marks.backlog(gone) == %{dirty: 0, in_flight: 0, sweeps: 0}
  end

  test "a sweep says that it begins, how urgent that is, and that it is over", c do
    watch_log()
    name = c.name
    add(c, ~w(a))
    :ok = Marks.mark_all(name, :run_summary, c.log)
    {["a"], marks} = drain(c.marks)
    assert_received {:log, :info, %{event: "conveyor.sweep", instance: ^name}, _}
    assert_received {:log, :info, %{event: "conveyor.swept", instance: ^name}, _}
    Marks.sweep_again({:run_summary, c.log}, marks)
    {["a"], _} = drain(marks)
    assert_received {:log, :warning, %{event: "conveyor.sweep", instance: ^name}, _}
  end

  defmodule Changes do
    @moduledoc "The log as one that can tell what has changed: what the test has put down for it."
    @behaviour :convex_sidecar_source
    @impl true
    defdelegate row(kind, id, arg), to: MemoryLog
    @impl true
    defdelegate events_after(kind, id, seq, limit, arg), to: MemoryLog
    @impl true
    defdelegate ids(kind, after_id, limit, arg), to: MemoryLog

    @impl true
    def changed_since(:run_summary, since, 10_000, {_, test}) do
      send(test, {:asked, System.system_time(:millisecond) - since})
      Process.get(:changed) || raise "the event log is ill"
    end
  end

  # The kind was swept, so what has changed of it may be asked for.
  defp swept(c) do
    source = {Changes, elem(c.log, 1)}
    for log <- [source, c.log], do: :ok = Marks.mark_all(c.name, :run_summary, log)
    {_, marks} = drain(c.marks)
    {source, marks}
  end

  test "of what was swept and can tell, what has changed is looked at, and nothing else", c do
    add(c, ~w(a b c))
    watch_log()
    :ok = Marks.sweep_changed(1000, c.marks)
    refute Marks.has_work(c.marks)
    {source, marks} = swept(c)
    assert_received {:log, :info, %{event: "conveyor.sweep"}, _}
    assert_received {:log, :info, %{event: "conveyor.sweep"}, _}
    Process.put(:changed, {:all, ~w(a b)})
    :ok = Marks.sweep_changed(1000, marks)
    assert %{sweeps: 1} = Marks.backlog(c.name)
    {batch, [], [{{:run_summary, "a"}, ^source}], marks} = Marks.take(1, marks)
    assert {["b"], marks} = drain(Marks.settle(batch, marks))
    refute Marks.has_work(marks)
    assert Marks.backlog(c.name) == %{dirty: 0, in_flight: 0, sweeps: 0}
    refute_received {:log, _, %{event: "conveyor.sweep"}, _}
  end

  test "of too much that has changed only what changed later is asked for, down to ten seconds", c do
    {_, marks} = swept(c)
    Process.put(:changed, {:more, ~w(a)})
    :ok = Marks.sweep_changed(40_000, marks)
    assert {["a"], _} = drain(marks)
    assert for(_ <- 1..3, do: assert_received({:asked, ms}) && div(ms, 10_000)) == [4, 2, 1]
    refute_received {:asked, _}
  end

  test "a log that cannot say what has changed is named, and asked the next time", c do
    watch_log()
    {_, marks} = swept(c)
    :ok = Marks.sweep_changed(1000, marks)
    assert {[], marks} = drain(marks)
    name = c.name
    assert_received {:log, :error, %{event: "conveyor.source_failed", instance: ^name}, _}
    refute Marks.has_work(marks)
    Process.put(:changed, {:all, ~w(a)})
    :ok = Marks.sweep_changed(1000, marks)
    assert {["a"], _} = drain(marks)
  end

  test "of a hundred sources what was swept is known, and no more" do
    c = house()

    marks =
      for i <- 1..101, reduce: c.marks do
        marks ->
          :ok = Marks.mark_all(c.name, :run_summary, {Changes, {elem(elem(c.log, 1), 0), i}})
          elem(drain(marks), 1)
      end

    :ok = Marks.sweep_changed(1000, marks)
    assert %{sweeps: 100} = Marks.backlog(c.name)
  end

  # ---- the model

  @all for i <- 1..9, do: "e#{i}"

  test "nothing is forgotten, whatever is marked, swept, given back, held, or dies" do
    seeds =
      case System.get_env("MODEL_SEED") do
        nil -> 1..String.to_integer(System.get_env("MODEL_RUNS", "300"))
        seed -> [String.to_integer(seed)]
      end

    for seed <- seeds, do: run(seed)
  end

  # need: what has to be looked at, by {id, source}; batches: what is looked at now.
  defp run(seed) do
    :rand.seed(:exsss, {seed, 2, 3})
    one = house(dirty_limit: Enum.random(2..6))
    logs = [one.log, {MemoryLog, {:ets.new(:log, [:ordered_set, :public]), self()}}]
    for log <- logs, id <- @all, do: MemoryLog.add(log, id, 1)
    start = %{c: one, logs: logs, marks: one.marks, need: MapSet.new(), batches: %{}, seed: seed}

    m =
      Enum.reduce(1..120, start, fn _, m ->
        step(m, Enum.random(~w(mark mark mark mark sweep take take take done done again give later wait ill die)a))
      end)

    for log <- logs, do: MemoryLog.fail(log, :all, false)
    m = Enum.reduce(Map.keys(m.batches), m, &done(&2, &1))
    m = finish(m)
    assert MapSet.size(m.need) == 0, "seed #{seed}: forgotten #{inspect(MapSet.to_list(m.need))}"
    assert Marks.backlog(one.name) == %{dirty: 0, in_flight: 0, sweeps: 0}, "seed #{seed}"
    refute Enum.any?(logs, &Marks.has_any(one.name, &1))
  end

  defp finish(m) do
    m = %{m | marks: Marks.later_again(m.marks)}

    if Marks.has_work(m.marks) do
      m = step(m, :take)
      Map.keys(m.batches) |> Enum.reduce(m, &done(&2, &1)) |> finish()
    else
      m
    end
  end

  defp need(m, marks), do: %{m | need: MapSet.union(m.need, MapSet.new(marks))}

  defp step(m, :mark) do
    mark = {{:run_summary, Enum.random(@all)}, Enum.random(m.logs)}
    {{kind, id}, log} = mark
    :ok = Marks.mark(m.c.name, kind, id, log)
    need(m, [mark])
  end

  defp step(m, :sweep) do
    log = Enum.random(m.logs)
    :ok = Marks.mark_all(m.c.name, :run_summary, log)
    need(m, for(id <- @all, do: {{:run_summary, id}, log}))
  end

  defp step(m, :take) do
    {batch, marked, swept, marks} = Marks.take(Enum.random(1..4), m.marks)
    taken = marked ++ swept
    keys = for {key, _} <- taken, do: key
    assert keys == Enum.uniq(keys)
    for {_, others} <- m.batches, {key, _} <- others, do: refute(key in keys, "seed #{m.seed}: #{inspect(key)} is in two batches")

    if taken == [],
      do: %{m | marks: Marks.settle(batch, marks)},
      else: %{m | marks: marks, batches: Map.put(m.batches, batch, taken), need: MapSet.difference(m.need, MapSet.new(taken))}
  end

  defp step(m, :die) do
    under_way = m.batches |> Map.values() |> List.flatten()
    need(%{m | marks: Marks.open(m.c.info), batches: %{}}, under_way)
  end

  defp step(m, :ill) do
    MemoryLog.fail(Enum.random(m.logs), :all, Enum.random([true, false]))
    m
  end

  defp step(m, :wait), do: %{m | marks: Marks.later_again(m.marks)}
  defp step(%{batches: batches} = m, _) when batches == %{}, do: m

  defp step(m, what) do
    {batch, taken} = Enum.random(m.batches)
    some = Enum.take_random(taken, 1)

    case what do
      :done ->
        done(m, batch)

      :again ->
        for mark <- some, do: Marks.again(mark, m.marks)
        m |> need(some) |> done(batch)

      :later ->
        m = %{m | marks: Enum.reduce(some, m.marks, &Marks.later/2)}
        m |> need(some) |> done(batch)

      :give ->
        m = %{m | marks: Marks.give_back(some, batch, m.marks), batches: Map.put(m.batches, batch, taken -- some)}
        need(m, some)
    end
  end

  defp done(m, batch), do: %{m | marks: Marks.settle(batch, m.marks), batches: Map.delete(m.batches, batch)}
end
