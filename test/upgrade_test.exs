defmodule UpgradeTest do
  @moduledoc """
  The deployed functions change under a running sidecar, forth and back, while documents are written: nothing is
  lost, nothing goes back, nothing dies (docs/UPGRADING.md).
  """
  use SidecarCase, async: false

  @moduletag timeout: 120_000
  @run "runtime/run_summary:"
  @t ~U[2026-02-19 20:00:00.123456Z]
  @writers 4

  setup context do
    standin = Standin.start()
    %{"functions" => 1} = Standin.deploy(standin, 1)
    dir = tmp_dir()
    name = unique_name()
    node = :"u#{unique()}_#{System.pid()}@127.0.0.1"
    config = [sink: Standin.sink(standin, Map.get(context, :sink, [])), delivery: [min_interval_ms: 0]]
    start_instance(name: name, node: node, store_dir: Path.join(dir, "store"), config: config, backoff_min_ms: 20)
    :ok = :convex_sidecar.await(name, 10_000)
    %{standin: standin, name: name}
  end

  defp status(c), do: elem(:convex_sidecar.status(c.name), 1)
  defp event(seq), do: %{seq: seq, event_type: "run.delta", inserted_at: @t}
  defp knows(c, version), do: wait_until(fn -> status(c).functions == version end, 20_000)
  defp row(i), do: %{thread_id: "t", status: "running", owner_user_id: i, updated_at: @t}

  # Each writer has five documents, of which it removes one now and then; returns what is to stand: %{id => seq}.
  defp write(c, stop, i, round \\ 1, logs \\ %{}, standing \\ %{}) do
    id = "w#{i}_#{rem(round, 5)}"
    logs = Map.update(logs, id, 1, &(&1 + 1))

    standing =
      if rem(round, 17) == 0 do
        {:ok, _} = :convex_sidecar.clear(c.name, @run <> id)
        Map.delete(standing, id)
      else
        {:ok, _} = :convex_sidecar.project(c.name, :run_summary, id, row(i), Enum.map(1..logs[id], &event/1), %{})
        Map.put(standing, id, logs[id])
      end

    if :atomics.get(stop, 1) == 1, do: standing, else: write(c, stop, i, round + 1, logs, standing)
  end

  # Until so many more documents are confirmed.
  defp confirmed(c, more) do
    wanted = status(c).metrics.delivered_total + more
    wait_until(fn -> status(c).metrics.delivered_total >= wanted end, 20_000)
  end

  defp forth_and_back(c) do
    stop = :atomics.new(1, [])
    writers = for i <- 1..@writers, do: Task.async(fn -> write(c, stop, i) end)
    knows(c, 1)
    confirmed(c, 100)

    for _ <- 1..3 do
      Standin.deploy(c.standin, 2)
      {:ok, _} = :convex_sidecar.reload(c.name)
      knows(c, 2)
      assert status(c).deployment =~ ~r/^[0-9a-f]{32}$/
      confirmed(c, 200)
      Standin.deploy(c.standin, 1)
      knows(c, 1)
      confirmed(c, 200)
    end

    :atomics.put(stop, 1, 1)
    standing = writers |> Task.await_many(30_000) |> Enum.reduce(&Map.merge/2)
    assert {:ok, %{pending: 0}} = :convex_sidecar.flush(c.name, 20_000)
    assert {:ok, []} = :convex_sidecar.dead_list(c.name)
    assert status(c).metrics.refused_documents_total == 0
    assert status(c).state == "running"

    there = for {@run <> id, json} <- Standin.documents(c.standin), into: %{}, do: {id, seq(json)}
    assert there == standing
    for {id, versions} <- Enum.group_by(Standin.history(c.standin), &elem(&1, 0)), do: assert_forward(id, versions)
    assert {:ok, %{findings: []}} = :convex_sidecar.audit(c.name, :all)
  end

  defp seq(json), do: Regex.run(~r/"latest_seq":(\d+)/, json, capture: :all_but_first) |> hd() |> String.to_integer()

  defp assert_forward(id, versions) do
    times = for {_id, _seq, at, _removed} <- versions, do: at
    assert times == Enum.sort(times), "#{id} went back"
  end

  test "functions 1, 2, 1, ... under traffic", c do
    forth_and_back(c)
  end

  @tag sink: [batch_mutation: ""]
  test "the same with one document a call", c do
    forth_and_back(c)
  end

  @tag sink: [batch_mutation: ""]
  test "functions of one's own under that name know nothing of it and are left alone", c do
    {:ok, _} = :convex_sidecar.project(c.name, :run_summary, "r", row(1), [event(1)], %{})
    assert {:ok, %{pending: 0}} = :convex_sidecar.flush(c.name, 20_000)
    knows(c, 1)
    assert %{deployment: "", mark: 0} = status(c)
  end

  test "a deployment that was made anew bears another id at the next document", c do
    Standin.deploy(c.standin, 2)
    {:ok, _} = :convex_sidecar.reload(c.name)
    knows(c, 2)
    before = status(c).deployment
    Standin.wipe(c.standin)
    {:ok, _} = :convex_sidecar.project(c.name, :run_summary, "r", row(1), [event(1)], %{})
    wait_until(fn -> status(c).deployment not in ["", before] end, 20_000)
    assert status(c).functions == 2
  end

  test "answers that come twice, at any time, answer nothing else", c do
    Standin.deploy(c.standin, 2)
    {:ok, _} = :convex_sidecar.reload(c.name)
    knows(c, 2)
    for ms <- [0, 1, 3, 10, 30], do: Standin.faults(c.standin, ~s({"kind":"twice","times":0,"p":0.2,"ms":#{ms}}))
    stop = :atomics.new(1, [])
    writers = for i <- 1..@writers, do: Task.async(fn -> write(c, stop, i) end)
    confirmed(c, 500)
    :atomics.put(stop, 1, 1)
    standing = writers |> Task.await_many(30_000) |> Enum.reduce(&Map.merge/2)
    assert {:ok, %{pending: 0}} = :convex_sidecar.flush(c.name, 20_000)
    assert Standin.stat(c.standin, "twice") > 0
    there = for {@run <> id, json} <- Standin.documents(c.standin), into: %{}, do: {id, seq(json)}
    assert there == standing
  end
end
