defmodule RuntimeShapeTest do
  @moduledoc """
  The shape of the real runtime: a transaction around append and projection, commits that come late, roll back, rows
  that change after their last event, two VMs with a sidecar each whose clocks are 3 s apart, a real PostgreSQL.
  No document is stale 3 s after a commit that came within 60 s of its append; a ghost is gone 3 s after the next
  commit of its run, and after 60 s without one; by the call and asynchronously.

      make runtime-shape RUNS=1000
  """
  use SidecarCase, async: false
  alias OpenAgentsRuntime.Convex.{CanonicalJson, Summary}

  @moduletag timeout: 1_800_000
  @runs String.to_integer(System.get_env("SHAPE_RUNS", "24"))
  @prefix "runtime/run_summary:"

  setup do
    {built, status} = System.cmd("make", ["-s", "torture-program"], stderr_to_stdout: true)
    assert status == 0, built
    dir = Path.join(System.tmp_dir!(), "convex_shape_#{System.pid()}_#{unique()}")
    server = start_supervised!({Postgres, dir})
    on_exit(fn -> File.rm_rf!(dir) end)
    connection = Postgres.connect(server)
    :ok = Postgres.run!(connection, RuntimeShape.tables())
    standin = Standin.start()
    port = GenServer.call(server, :port)
    vms = for {name, offset} <- [a: 0, b: -3_000_000], do: start_vm(name, offset, port, standin)
    %{connection: connection, standin: standin, vms: vms}
  end

  # Each with a sidecar, a store and a clock of its own.
  defp start_vm(name, offset, port, standin) do
    dir = tmp_dir()
    clock = Path.join(dir, "clock")
    File.write!(clock, <<offset::little-signed-64>>)
    vm = Vm.start()

    options = [
      name: :shape,
      catch_up: false,
      program: Path.expand("build/torture/convex_sidecar"),
      store_dir: Path.join(dir, "store"),
      config: [sink: Standin.sink(standin), delivery: [min_interval_ms: 0]]
    ]

    :ok = Vm.call(vm, RuntimeShape, :start, [port, clock, options])
    {name, vm}
  end

  test "no document stays stale, no ghost stays, by the call and asynchronously", c do
    [{:a, a}, {:b, b}] = c.vms
    for form <- [:call, :async], do: counts(a, form)
    watcher = Task.async(fn -> watch(c.standin, 0, %{}) end)
    done = for form <- [:call, :async], into: %{}, do: {form, Task.async(fn -> run(form, a, b) end)}
    done = Map.new(done, fn {form, task} -> {form, Task.await(task, :infinity)} end)

    # Whatever was allowed a minute has had it, unless all is right before.
    ids = for {_form, runs} <- done, {id, _} <- runs, do: id
    right = await(c, watcher, ids, RuntimeShape.now() + 62_000)
    send(watcher.pid, :stop)
    seen = Task.await(watcher, 60_000)
    assert [] == Enum.flat_map(done, fn {form, runs} -> judge(runs, right, seen, form) end)
  end

  defp run(form, a, b) do
    {of_a, of_b} =
      [:late, :row, :ghost] |> scenarios(@runs) |> Enum.map(fn {id, what} -> {"#{form}_#{id}", what} end) |> Enum.split(div(@runs, 2))

    width = min(20, div(@runs, 2) + 1)

    [done_a, done_b] =
      [{a, of_a}, {b, of_b}]
      |> Enum.map(fn {vm, list} -> Task.async(fn -> Vm.call(vm, RuntimeShape, :scenarios, [list, form, width], :infinity) end) end)
      |> Task.await_many(:infinity)

    # Where the clock is ahead a run has its last event; where it is behind its row changes.
    crossed = for i <- 1..max(4, div(@runs, 10)), do: "#{form}_x#{i}"

    changed =
      crossed
      |> Enum.chunk_every(4)
      |> Enum.map(fn ids ->
        :ok = Vm.call(a, RuntimeShape, :ends, [ids, form], :infinity)
        Vm.call(b, RuntimeShape, :changes, [for(id <- ids, do: {id, 0}), form, 4], :infinity)
      end)
      |> Enum.reduce(%{}, &Map.merge/2)

    done_a |> Map.merge(done_b) |> Map.merge(changed)
  end

  defp scenarios(kinds, n) do
    for i <- 1..n do
      what =
        case Enum.at(kinds, rem(i, length(kinds))) do
          :late -> {:late, Enum.at([50, 500, 5000], rem(div(i, 3), 3))}
          :row -> {:row, Enum.random([0, 50, 300, 1500])}
          :ghost -> {:ghost, rem(i, 4) + 1, Enum.at([:next, :next, :none], rem(div(i, 3), 3))}
        end

      {"r#{i}", what}
    end
  end

  # ---- what Convex shows, and when it began to: %{document_id => {hash, at_ms}}

  defp watch(standin, count, seen) do
    commits = Standin.commits(standin, count)
    at = RuntimeShape.now()
    seen = Enum.reduce(commits, seen, fn %{id: id, hash: hash}, seen -> Map.put(seen, id, {hash, at}) end)

    receive do
      :stop -> seen
      {:seen, from} -> send(from, {:seen, seen}) && watch(standin, count + length(commits), seen)
    after
      100 -> watch(standin, count + length(commits), seen)
    end
  end

  defp seen(watcher) do
    send(watcher.pid, {:seen, self()})
    receive do: ({:seen, seen} -> seen)
  end

  defp await(c, watcher, ids, deadline) do
    right = truth(c.connection, ids)
    seen = seen(watcher)

    cond do
      Enum.all?(ids, &match?({hash, _} when hash == :erlang.map_get(&1, right), seen[@prefix <> &1])) -> right
      RuntimeShape.now() > deadline -> right
      true -> Process.sleep(500) && await(c, watcher, ids, deadline)
    end
  end

  # The hash of the document that the tables make.
  defp truth(connection, ids) do
    :persistent_term.put(RuntimeShape, %{shared: connection, reads: :counters.new(1, [])})
    rows = RuntimeShape.Log.rows(:run_summary, ids)

    for id <- ids, into: %{} do
      row = rows[id]
      events = RuntimeShape.Log.events_after(:run_summary, id, 0, 100)
      summary = Summary.summary(:run_summary, row, %{count: length(events), latest: List.last(events)}, [])
      {id, summary |> put_in(["runtime_source", "row_version"], row[:"$version"]) |> CanonicalJson.hash()}
    end
  end

  defp judge(done, right, seen, form) do
    told =
      for {id, {what, {at, within}}} <- done do
        {hash, since} = Map.get(seen, @prefix <> id, {nil, 0})
        %{id: id, what: what, right?: hash == right[id], ms: max(0, since - at), within: within}
      end

    told
    |> Enum.group_by(&class(&1.what))
    |> Enum.sort()
    |> Enum.each(fn {class, some} ->
      slow = some |> Enum.map(& &1.ms) |> Enum.sort()
      wrong = Enum.count(some, &(not &1.right?))
      late = Enum.count(some, &(&1.right? and &1.ms > &1.within))

      IO.puts(
        "    #{form} #{String.pad_trailing(class, 28)} #{String.pad_leading("#{length(some)}", 4)} runs, wrong #{wrong}, late #{late}, " <>
          "p50 #{Enum.at(slow, div(length(slow), 2))} ms, max #{List.last(slow)} ms"
      )
    end)

    for one <- told, not one.right? or one.ms > one.within, do: one
  end

  defp class({:late, ms}), do: "commits #{ms} ms late"
  defp class({:row, _}), do: "row after the last event"
  defp class({:ghost, _, :next}), do: "rolled back, next commit"
  defp class({:ghost, _, :none}), do: "rolled back, nothing after"
  defp class(:other_vm), do: "the VM whose clock is behind"

  # What it costs: 200 runs at once, then their looks.
  defp counts(vm, form) do
    call = fn function, args -> Vm.call(vm, RuntimeShape, function, args, :infinity) end
    n = 200
    before = call.(:reads, [])
    call.(:appends, [for(i <- 1..n, do: "q#{form}#{i}"), form])
    :ok = Vm.call(vm, :convex_sidecar, :settle, [:shape, 60_000])
    appended = call.(:reads, [])
    wait_until(fn -> call.(:looks, [:shape]) == 0 end, 30_000)
    looked = call.(:reads, [])
    IO.puts("    #{form} queries an append: #{(appended - before) / n}, a look: #{(looked - appended) / (2 * n)}")
  end
end
