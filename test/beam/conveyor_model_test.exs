defmodule ConvexSidecar.ConveyorModelTest do
  @moduledoc """
  The conveyor against the plainest model of it: a set of changed entities in which nothing is ever forgotten. Random
  appends, row changes, calls, sweeps, transactions that roll back, overflows, answers of every sort, sidecars that go
  away, event logs that fail and conveyors that die; at the end each document says what the log says.

      MODEL_RUNS=200 mix test test/beam/conveyor_model_test.exs      (MODEL_SEED=n: that one alone)
  """
  use SidecarCase, async: true

  defmodule Source do
    @moduledoc "The log, with a question that a transaction answers."
    @behaviour :convex_sidecar_source
    @impl true
    defdelegate row(kind, id, arg), to: MemoryLog
    @impl true
    defdelegate events_after(kind, id, seq, limit, arg), to: MemoryLog
    @impl true
    defdelegate ids(kind, after_id, limit, arg), to: MemoryLog
    @impl true
    def in_transaction(_arg), do: Process.get(:in_transaction, false)
  end

  @moduletag timeout: 3_600_000
  @moduletag :capture_log
  @ids for i <- 1..12, do: "e#{i}"
  @steps 60

  test "nothing is forgotten" do
    seeds =
      case System.get_env("MODEL_SEED") do
        nil -> 1..String.to_integer(System.get_env("MODEL_RUNS", "4"))
        seed -> [String.to_integer(seed)]
      end

    seeds |> Task.async_stream(&run/1, max_concurrency: 4, timeout: :infinity) |> Enum.each(&({:ok, :ok} = &1))
  end

  # An instance and a log of its own, without the test's supervisor: several run at once.
  defp run(seed) do
    :rand.seed(:exsss, {seed, 1, 2})
    # The case's log is the last made: what counts here is the table.
    log = {Source, {:ets.new(:memory_log, [:ordered_set, :public]), self()}}
    fake = unique_name("model_fake")
    {:ok, server} = FakeSidecar.start_link(fake)
    name = unique_name("model")
    limits = [dirty_limit: 6, batch_limit: 4, request_ms: 60]
    {:ok, sup} = :convex_sidecar.start_link([name: name, mode: :external, node: node(), registered_name: fake] ++ limits)
    :ok = :convex_sidecar.await(name, 5000)
    c = %{name: name, fake: fake, log: log, seed: seed}

    for id <- @ids, do: MemoryLog.add(log, id, 1) && mark(c, id)
    for _ <- 1..@steps, do: step(c, pick(~w(append append append finish finish call sweep ghost ghost away ill die answers answers rest)a))
    FakeSidecar.script(fake, [])
    for id <- [:all | @ids], do: MemoryLog.fail(log, id, false)
    up(c)

    unless eventually(c, 150), do: flunk("seed #{seed}: #{inspect(wrong(c), limit: 20)}")
    Process.unlink(sup)
    :convex_sidecar.stop(name)
    GenServer.stop(server)
    flush()
  end

  defp pick(list), do: Enum.random(list)
  defp mark(c, id), do: :ok = :convex_sidecar.project_async(c.name, :run_summary, id, c.log)
  defp call(c, id), do: :convex_sidecar_source.project(c.name, c.log, :run_summary, id, %{timeout: 80})

  # ---- steps

  defp step(c, :append), do: with(id <- pick(@ids), do: MemoryLog.append(c.log, id, pick([1, 1, 2, 40])) && mark(c, id))

  # The row changes after its last event, and nobody says so.
  defp step(c, :finish) do
    id = pick(@ids)
    MemoryLog.append(c.log, id, 1)
    if pick([true, false]), do: mark(c, id), else: safe(fn -> call(c, id) end)
    Process.sleep(pick([0, 1, 30, 150]))
    MemoryLog.update(c.log, id, %{status: "s#{unique()}"})
  end

  defp step(c, :call), do: with(id <- pick(@ids), do: safe(fn -> call(c, id) end))
  defp step(c, :sweep), do: :ok = :convex_sidecar.project_all_async(c.name, :run_summary, c.log)

  # Events that are seen and rolled back; then others in their place, or none.
  defp step(c, :ghost) do
    id = pick(@ids)
    last = latest(c, id)
    count = pick([1, 2, 3])
    MemoryLog.append(c.log, id, count)
    for seq <- (last + 1)..(last + count), do: MemoryLog.replace(c.log, id, seq, "ghost")
    Process.put(:in_transaction, true)
    safe(fn -> call(c, id) end)
    Process.put(:in_transaction, false)
    for seq <- (last + 1)..(last + count), do: MemoryLog.lose(c.log, id, seq)
    MemoryLog.update(c.log, id, %{latest_seq: last})
    # The next append tells, or nobody does.
    if pick([true, false]), do: step(c, :append)
    if pick([true, false]), do: mark(c, id)
  end

  defp step(c, :away) do
    :convex_sidecar_instance.set_up(info(c), false)
    Process.sleep(pick([0, 20, 60]))
    up(c)
  end

  defp step(c, :ill) do
    id = pick([:all | @ids])
    MemoryLog.fail(c.log, id, true)
    mark(c, pick(@ids))
    Process.sleep(pick([0, 10]))
    if pick([true, false]), do: MemoryLog.fail(c.log, id, false)
  end

  defp step(c, :die) do
    pid = c.name |> :convex_sidecar_instance.conveyor_name() |> Process.whereis()
    # The supervisor bears five in ten seconds.
    budget = Process.get(:deaths, 0)
    if pid && budget < 4, do: Process.put(:deaths, budget + 1) && Process.exit(pid, :kill)
  end

  defp step(c, :answers) do
    answers =
      for _ <- 1..pick(1..4) do
        pick([
          {:error, :busy},
          {:error, :draining},
          {:error, {:store, "full"}},
          {:error, :nobody_knows},
          {:ok, []},
          :nonsense,
          :silent,
          :normal,
          fn
            {:batch, requests} -> {:ok, Enum.map(requests, fn _ -> {:error, :busy} end)}
            _ -> :normal
          end
        ])
      end

    # What fails for good, alone, is given up: nothing of that sort here.
    FakeSidecar.script(c.fake, Enum.map(answers, &unless_single/1))
  end

  defp step(_c, :rest), do: Process.sleep(pick([10, 120, 300]))

  defp unless_single({:error, :nobody_knows}) do
    fn
      {:batch, [_, _ | _]} -> {:error, :nobody_knows}
      _ -> :normal
    end
  end

  # A call is answered as the sidecar answers.
  defp unless_single(batch_alone) when batch_alone in [:nonsense, {:ok, []}] do
    fn
      {:batch, _} -> batch_alone
      _ -> :normal
    end
  end

  defp unless_single(other), do: other

  # ---- the end

  defp eventually(_c, 0), do: false

  defp eventually(c, left) do
    hurry(c)
    Process.sleep(100)
    wrong(c) == [] or eventually(c, left - 1)
  end

  # Half a minute is over for whoever waits for its log, and all transactions have ended.
  defp hurry(c) do
    looks = info(c).looks

    for {:look, key, _, _, _, _, _, _, _, since} <- :ets.tab2list(looks) do
      :ets.update_element(looks, key, {9, 0})
      if is_integer(since), do: :ets.update_element(looks, key, {10, since - 40_000})
    end
  end

  defp wrong(c) do
    documents = FakeSidecar.documents(c.fake)
    for id <- @ids, document = documents["runtime/run_summary:#{id}"], not right?(c, id, document), do: {id, document, latest(c, id)}
  end

  defp right?(c, id, document) do
    last = latest(c, id)
    [event] = MemoryLog.events_after(:run_summary, id, last - 1, 9, elem(c.log, 1))
    {:ok, row} = MemoryLog.row(:run_summary, id, elem(c.log, 1))
    shown = {event.event_type, event.inserted_at}
    document.folded == last and document.count == last and document.row == row and document.events[last] == shown
  end

  defp latest(c, id) do
    {_, {table, _}} = c.log
    [{_, row}] = :ets.lookup(table, {:run_summary, id})
    row.latest_seq
  end

  defp info(c), do: elem(:convex_sidecar_instance.lookup(c.name), 1)

  defp up(c) do
    :convex_sidecar_instance.set_up(info(c), true)
    conveyor = :convex_sidecar_instance.conveyor_name(c.name)
    if Process.whereis(conveyor), do: send(conveyor, {:convex_sidecar, :up})
  end

  # A call whose log fails raises in its caller.
  defp safe(fun) do
    fun.()
  rescue
    RuntimeError -> :ok
  end

  defp flush do
    receive do
      _ -> flush()
    after
      0 -> :ok
    end
  end
end
