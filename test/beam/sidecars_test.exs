defmodule OpenAgentsRuntime.Convex.SidecarsTest do
  use SidecarCase, async: false

  alias OpenAgentsRuntime.Convex.{HttpSink, Projector, Reprojection, Sidecars}

  setup do
    configure(:convex_event_log, MemoryLog)
    configure(:convex_sidecars, nil)

    on_exit(fn ->
      configure(:convex_sidecars, nil)
      Sidecars.forget()
    end)

    %{log: MemoryLog.new()}
  end

  defp start(n), do: for(_ <- 1..n, do: start_fake())
  defp settle(pairs), do: for({name, _} <- pairs, do: :ok = :convex_sidecar.settle(name, 10_000))
  defp kept(pairs), do: for({_, fake} <- pairs, do: fake |> FakeSidecar.documents() |> Map.keys())
  defp names(pairs), do: Enum.map(pairs, &elem(&1, 0))

  test "rendezvous: even shares, and a member that goes or comes moves only its own" do
    members = for i <- 1..5, do: {:convex_sidecar, :"node#{i}@host"}
    ids = for i <- 1..5000, do: "runtime/run_summary:#{i}"
    owners = Map.new(ids, &{&1, Sidecars.owner(members, &1)})
    shares = owners |> Map.values() |> Enum.frequencies() |> Map.values()
    assert length(shares) == 5 and Enum.min(shares) > 850 and Enum.max(shares) < 1150
    [gone | rest] = members

    for {id, owner} <- owners do
      now = Sidecars.owner(rest, id)
      if owner == gone, do: assert(now in rest), else: assert(now == owner)
    end

    # The order they are named in does not matter, nor what an instance is called here.
    assert Enum.all?(ids, &(Sidecars.owner(Enum.reverse(members), &1) == owners[&1]))
  end

  test "every form goes to the owner, also by HttpSink and by a rebuild", %{log: log} do
    pairs = start(3)
    configure(:convex_sidecars, names(pairs))
    ids = for i <- 1..60, do: "r#{i}"
    for id <- ids, do: MemoryLog.add(log, id, 1)
    for id <- Enum.take(ids, 30), do: assert({:ok, %{write: "queued"}} = Projector.project_run(id, sink: HttpSink))
    for id <- Enum.drop(ids, 30), do: :ok = Projector.project_run_async(id)
    settle(pairs)
    shares = kept(pairs)
    assert Enum.all?(shares, &(length(&1) > 5))
    assert shares |> List.flatten() |> Enum.sort() == ids |> Enum.map(&"runtime/run_summary:#{&1}") |> Enum.sort()
    assert {:ok, %{failed_entities: 0}} = Reprojection.rebuild_all(worker_ids: [])
    summary = %{"runtime_source" => %{"seq" => 9}}
    for id <- ids, do: :ok = HttpSink.upsert_run_summary("runtime/run_summary:#{id}", summary, [])
    assert kept(pairs) == shares
  end

  test "a sweep looks at each sidecar's own entities only", %{log: log} do
    pairs = start(3)
    configure(:convex_sidecars, names(pairs))
    for i <- 1..2500, do: MemoryLog.add(log, "r#{i}", 1)
    assert Projector.project_all_async(:run_summary) == :ok
    settle(pairs)
    assert length(List.flatten(kept(pairs))) == 2500
    assert Enum.all?(kept(pairs), &(length(&1) > 500))
    # One of them alone: only what is its own, although all ids are in the log.
    [{name, fake} | _] = pairs
    before = length(FakeSidecar.requests(fake))
    assert Projector.project_all_async(:run_summary, sidecar: name) == :ok
    settle(pairs)
    again = fake |> FakeSidecar.requests() |> Enum.drop(before) |> Enum.map(fn {:batch, rs} -> length(rs) end) |> Enum.sum()
    assert again == length(hd(kept(pairs)))
  end

  test "put/2 projects what moves, and only that, from the log", %{log: log} do
    [first, second, third] = pairs = start(3)
    configure(:convex_sidecars, names([first, second]))
    for i <- 1..200, do: MemoryLog.add(log, "r#{i}", 4)
    for i <- 1..200, do: :ok = Projector.project_run_async("r#{i}")
    settle(pairs)
    assert {:ok, %{moved: moved}} = Sidecars.put(names(pairs))
    settle(pairs)
    [_, _, taken] = kept(pairs)
    assert length(taken) == moved and moved in 40..95
    assert third |> elem(1) |> FakeSidecar.documents() |> Map.values() |> Enum.all?(&(&1.folded == 4 and &1.count == 4))
    assert Sidecars.members() == names(pairs)
    assert {:ok, %{moved: 0}} = Sidecars.put(names([first]), reproject: false)
  end

  test "what put/2 says counts until the application starts anew; the configuration stays as it is" do
    configure(:convex_sidecars, [:x, :y])
    assert {:ok, %{moved: 0}} = Sidecars.put([:y, :z], reproject: false)
    assert Sidecars.members() == [:y, :z]
    assert Application.get_env(:openagents_runtime, :convex_sidecars) == [:x, :y]
    :ok = Application.stop(:convex_sidecar)
    {:ok, _} = Application.ensure_all_started(:convex_sidecar)
    assert Sidecars.members() == [:x, :y]
  end

  test "options: a list for one call, one name, and without configuration the one sidecar" do
    assert Sidecars.members() == [:convex_sidecar]
    assert Sidecars.members(sidecar: :mine) == [:mine]
    assert Sidecars.members(sidecar: {:a, :b@c}) == [{:a, :b@c}]
    assert Sidecars.members(sidecar: [:a, :b]) == [:a, :b]
    configure(:convex_sidecars, [:x, :y])
    assert Sidecars.members() == [:x, :y]
    assert Sidecars.members(sidecar: :mine) == [:mine]
  end

  # A member that is asked for its name changes the members: in the middle of the choice of an owner.
  defmodule Meddler do
    @moduledoc false
    def member, do: {%{__struct__: __MODULE__}, node()}

    # Called when it is inspected, which is how members are told apart.
    def __struct__ do
      case :persistent_term.get(__MODULE__, nil) do
        nil -> :ok
        members -> :persistent_term.erase(__MODULE__) && Sidecars.put(members, reproject: false)
      end

      raise "no struct"
    end
  end

  defmodule MeddlingLog do
    @moduledoc false
    @behaviour OpenAgentsRuntime.Convex.EventLog
    @impl true
    def row(kind, id) do
      with members when members != nil <- :persistent_term.get(__MODULE__, nil),
           true <- :persistent_term.erase(__MODULE__),
           do: Sidecars.put(members, reproject: false)

      MemoryLog.row(kind, id)
    end

    @impl true
    defdelegate events_after(kind, id, seq, limit), to: MemoryLog
    @impl true
    defdelegate ids(kind, after_id, limit), to: MemoryLog
  end

  test "members that change between the choice of an owner and the mark: the new owner has the mark", %{log: log} do
    [{old, _}, {new, fake}] = pairs = start(2)
    members = [old, Meddler.member()]
    id = Enum.find(Stream.map(1..100, &"r#{&1}"), &(Sidecars.owner(members, "runtime/run_summary:#{&1}") == old))
    MemoryLog.add(log, id, 1)
    {:ok, _} = Sidecars.put(members, reproject: false)
    :persistent_term.put(Meddler, [new])
    :ok = Projector.project_run_async(id)
    assert Sidecars.configured() == [new]
    settle(pairs)
    assert Map.keys(FakeSidecar.documents(fake)) == ["runtime/run_summary:#{id}"]
  end

  test "members that change while a call reads the log: the new owner has it as well", %{log: log} do
    [{old, _}, {new, fake}] = pairs = start(2)
    MemoryLog.add(log, "r", 1)
    {:ok, _} = Sidecars.put([old], reproject: false)
    :persistent_term.put(MeddlingLog, [new])
    assert {:ok, %{write: "queued"}} = Projector.project_run("r", event_log: MeddlingLog)
    assert Sidecars.configured() == [new]
    settle(pairs)
    assert Map.keys(FakeSidecar.documents(fake)) == ["runtime/run_summary:r"]
  end

  test "VMs that call the same sidecars by other instance names choose the same owners" do
    there = for i <- 1..3, do: {:"sidecar#{i}", node()}
    here = for {registered, _} <- there, do: start_instance(name: unique_name(), mode: :external, node: node(), registered_name: registered)
    by_place = Map.new(Enum.zip(here, there))
    for i <- 1..200, id = "runtime/run_summary:#{i}", do: assert(by_place[Sidecars.owner(here, id)] == Sidecars.owner(there, id))
  end
end
