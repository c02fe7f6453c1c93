defmodule OthersideTest do
  @moduledoc """
  The other side changes behind the sidecar's back: wiped, swapped, restored, rows cleared or imported, the store
  itself restored or copied. It is said, and every document that a log makes stands there again, without a person.
  """
  use SidecarCase, async: false

  alias OpenAgentsRuntime.Convex.{DiskEventLog, Projector, Sidecar, Summary}

  @moduletag timeout: 180_000
  @run "runtime/run_summary:"
  @t ~U[2026-02-19 20:00:00.123456Z]

  setup do
    dir = tmp_dir()
    name = unique_name()
    configure(:convex_event_log, DiskEventLog)
    configure(:convex_sidecar, name: name)
    start_supervised!({DiskEventLog, dir: Path.join(dir, "log")})
    %{name: name, dir: dir, store: Path.join(dir, "store"), standin: Standin.start()}
  end

  # As an application starts it: with catch-up, and the offer to sweep.
  defp start(c, sink \\ nil, delivery \\ []) do
    options = [
      name: c.name,
      node: :"o#{unique()}_#{System.pid()}@127.0.0.1",
      store_dir: c.store,
      config: [sink: sink || Standin.sink(c.standin), delivery: [min_interval_ms: 0, backoff_min_ms: 50, backoff_max_ms: 200] ++ delivery]
    ]

    start_supervised!({Sidecar, options}, id: c.name)
    on_exit(fn -> :convex_sidecar_instance.close(c.name) end)
    :ok = :convex_sidecar.await(c.name, 10_000)
    c
  end

  defp stop(c), do: stop_supervised!(c.name)

  defp restart(c, sink \\ nil, delivery \\ []) do
    stop(c)
    start(c, sink, delivery)
  end

  defp append(ids) do
    for id <- ids do
      with {:error, _} <- DiskEventLog.row(:run_summary, id) |> known(),
           do: DiskEventLog.create_run(id, %{thread_id: "t", status: "running", owner_user_id: 1, updated_at: @t})

      {:ok, _} = DiskEventLog.append_event(id, "run.delta")
      :ok = Projector.project_run_async(id)
    end
  end

  defp known({:ok, row}), do: {:ok, row}
  defp known(_), do: {:error, :unknown}

  defp delivered(c) do
    :ok = :convex_sidecar.settle(c.name, 20_000)
    {:ok, _} = :convex_sidecar.flush(c.name, 20_000)
  end

  defp populate(c, n) do
    append(for i <- 1..n, do: "r#{i}")
    delivered(c)
    assert standing(c) == n
    wait_until(fn -> destination(c).mark >= 1 end)
  end

  defp standing(c), do: c.standin |> Standin.documents() |> map_size()

  defp destination(c) do
    {:ok, status} = :convex_sidecar.status(c.name)
    status.destination
  end

  defp metric(c, name) do
    {:ok, status} = :convex_sidecar.status(c.name)
    status.metrics[name]
  end

  # Nothing is doubtful any more, and everything that the log has stands there as it is.
  defp right_again(c, n) do
    wait_until(fn -> standing(c) == n and destination(c).doubt == nil end, 30_000)
    {:ok, audit} = :convex_sidecar.audit(c.name, :all)
    assert audit.missing + audit.stale + audit.altered + audit.ahead + audit.orphaned == 0
    assert metric(c, :doubtful) == 0
  end

  # The same rows with the id and the mark of another state come out of nowhere: a touch makes it notice.
  defp touch(c) do
    append(["r1"])
    :convex_sidecar.settle(c.name, 10_000)
  end

  test "the same deployment is nobody's concern, restarted or not", c do
    start(c)
    populate(c, 20)
    before = destination(c)
    restart(c)
    append(["r1"])
    delivered(c)
    now = destination(c)
    assert now.deployment == before.deployment and now.store_id == before.store_id
    assert now.doubt == nil and metric(c, :destination_changes_total) == 0
  end

  test "wiped while it runs: the next answer shows it, and all is sent again", c do
    watch_telemetry()
    watch_log()
    start(c)
    populate(c, 40)
    Standin.wipe(c.standin)
    touch(c)
    right_again(c, 40)
    assert metric(c, :destination_changes_total) == 1
    assert_receive {:telemetry, :sweep, _, %{phase: "started", why: why}}, 5000
    assert why =~ "deployment"
    assert_receive {:telemetry, :sweep, _, %{phase: "done"}}, 5000
    # Each VM hears that it is mended, whoever sweeps: one line and one event each.
    assert_receive {:telemetry, :state, _, %{scope: "mending", state: "mending", why: ^why, next: "nothing" <> _}}, 5000
    assert_receive {:telemetry, :state, _, %{scope: "mending", state: "running", was: "mending"}}, 5000
    assert_receive {:log, :warning, %{event: "delivery.mending"}, _}
    assert_receive {:log, :info, %{event: "delivery.mended"}, _}
    refute_received {:telemetry, :state, _, %{scope: "mending"}}
  end

  test "another deployment at base_url", c do
    start(c)
    populate(c, 30)
    other = %{c | standin: Standin.start()}
    restart(other)
    right_again(other, 30)
    assert destination(other).address == other.standin.url
  end

  test "back to the first one, whose mark is old", c do
    start(c)
    populate(c, 10)
    other = %{c | standin: Standin.start()}
    restart(other)
    right_again(other, 10)
    append(["r1", "r11"])
    delivered(other)
    restart(c)
    right_again(c, 11)
  end

  test "restored to before the last marks: what was confirmed since is sent again, and no more", c do
    start(c, nil, mark_ms: 300)
    populate(c, 20)
    Standin.snapshot(c.standin)
    old = destination(c).mark
    # Two marks later ...
    for i <- 1..2 do
      Process.sleep(350)
      append(["r#{i}"])
      delivered(c)
      append(["r#{i}"])
      delivered(c)
      wait_until(fn -> destination(c).mark > old end)
    end

    append(for i <- 21..30, do: "r#{i}")
    delivered(c)
    Standin.restore(c.standin)
    touch(c)
    right_again(c, 30)
    assert metric(c, :destination_changes_total) == 1
  end

  test "restored inside the last interval: evidence on the way shows it to the audit, not to the mark", c do
    start(c)
    populate(c, 10)
    Standin.snapshot(c.standin)
    append(for i <- 11..15, do: "r#{i}")
    delivered(c)
    Standin.restore(c.standin)
    append(["r11"])
    delivered(c)
    assert standing(c) == 11
    {:ok, audit} = :convex_sidecar.audit(c.name, :all)
    assert audit.missing == 4
  end

  test "rows cleared by hand, marks among them", c do
    start(c)
    populate(c, 20)
    before = destination(c)
    assert Standin.mutation(c.standin, "runtime:clear", "{}") =~ "success"
    touch(c)
    right_again(c, 20)
    assert destination(c).deployment != before.deployment
  end

  test "the store is restored: a number higher than ours makes it another store, loudly", c do
    start(c, nil, mark_ms: 200)
    populate(c, 20)
    old = destination(c)
    stop(c)
    File.cp_r!(c.store, c.store <> ".backup")
    start(c, nil, mark_ms: 200)

    for i <- 1..3 do
      Process.sleep(250)
      append(["r#{i}"])
      delivered(c)
    end

    append(["r1"])
    delivered(c)
    wait_until(fn -> destination(c).mark > old.mark + 1 end)
    stop(c)
    File.rm_rf!(c.store)
    File.cp_r!(c.store <> ".backup", c.store)
    start(c, nil, mark_ms: 200)
    right_again(c, 20)
    assert destination(c).store_id != old.store_id
    assert metric(c, :destination_changes_total) == 1
  end

  test "two sidecars with copies of one store: the one that finds the other's number takes another name", c do
    start(c, nil, mark_ms: 200)
    populate(c, 10)
    stop(c)
    File.cp_r!(c.store, c.store <> ".copy")
    copy = %{c | name: unique_name("copy"), store: c.store <> ".copy"}
    start(c, nil, mark_ms: 200)
    start(copy, nil, mark_ms: 200)

    for i <- 1..20 do
      append(["r#{rem(i, 10) + 1}"])
      delivered(c)
      Projector.project_run_async("r#{rem(i, 10) + 1}", sidecar: copy.name)
      delivered(copy)
      Process.sleep(100)
    end

    wait_until(fn -> destination(c).store_id != destination(copy).store_id end, 10_000)
    right_again(c, 10)
    assert metric(c, :destination_changes_total) + metric(copy, :destination_changes_total) >= 1
  end

  test "functions of one's own say nothing: a wipe is not noticed, another address is", c do
    Standin.deploy(c.standin, 1)
    start(c)
    append(for i <- 1..10, do: "r#{i}")
    delivered(c)
    wait_until(fn -> destination(c).address == c.standin.url end)
    Standin.wipe(c.standin)
    touch(c)
    delivered(c)
    assert standing(c) == 1
    other = %{c | standin: Standin.start()}
    Standin.deploy(other.standin, 1)
    restart(other)
    wait_until(fn -> standing(other) == 10 end, 20_000)
    wait_until(fn -> destination(other).doubt == nil end, 20_000)
  end

  test "documents that only upsert gave are named and counted, and adopted in the end", c do
    start(c)
    populate(c, 5)
    info = %{count: 1, latest: %{seq: 1, event_type: "run.delta", inserted_at: @t}}
    summary = Summary.summary(:run_summary, %{run_id: "given", status: "done"}, info, now: @t)
    {:ok, _} = :convex_sidecar.upsert(c.name, :run_summary, @run <> "given", summary)
    delivered(c)
    assert standing(c) == 6
    Standin.wipe(c.standin)
    touch(c)

    doubt =
      wait_until(
        fn ->
          doubt = destination(c).doubt
          doubt && doubt.swept && doubt.counted && doubt.documents == 0 && doubt
        end,
        30_000
      )

    assert doubt.documents_without_log == 1 and doubt.first_without_log == [@run <> "given"]
    assert standing(c) == 5
    # Upserted again it is written, whatever was believed.
    {:ok, %{write: "queued"}} = :convex_sidecar.upsert(c.name, :run_summary, @run <> "given", summary)
    delivered(c)
    wait_until(fn -> destination(c).doubt == nil end, 40_000)
    assert standing(c) == 6
  end

  test "on_new_destination = stop: nothing is sent before it is adopted", c do
    stop = [on_new_destination: :stop]
    start(c, nil, stop)
    populate(c, 10)
    other = %{c | standin: Standin.start()}
    restart(other, nil, stop)
    append(["r1"])

    status =
      wait_until(fn ->
        {:ok, s} = :convex_sidecar.status(c.name)
        s.why =~ "another deployment" && s
      end)

    assert status.state == "stopped" and status.next =~ "adopt"
    assert standing(other) == 0
    {:ok, %{would_adopt: what}} = :convex_sidecar.call(c.name, {:adopt, %{dry_run: true}}, 5000)
    assert what =~ other.standin.url
    {:ok, %{adopted: ^what}} = :convex_sidecar.call(c.name, {:adopt, %{}}, 5000)
    right_again(other, 10)
  end

  test "noop on a store that has confirmed to Convex keeps and does not confirm, until it is adopted", c do
    start(c)
    populate(c, 5)
    restart(c, type: :noop)
    append(["r1", "r6"])
    :ok = :convex_sidecar.settle(c.name, 10_000)
    {:ok, status} = :convex_sidecar.status(c.name)
    assert status.state == "stopped" and status.next =~ "adopt" and status.metrics.pending == 2
    {:ok, %{adopted: _}} = :convex_sidecar.call(c.name, {:adopt, %{}}, 5000)
    delivered(c)
    assert destination(c).sink == "noop"
    # Back to Convex: what noop confirmed, Convex does not have.
    restart(c)
    right_again(c, 6)
  end

  test "a store that only ever had noop takes any destination without a word", c do
    start(c, type: :noop)
    append(for i <- 1..10, do: "r#{i}")
    delivered(c)
    restart(c)
    right_again(c, 10)
    assert metric(c, :destination_changes_total) == 0
  end

  test "a sweep that the sidecar's restart interrupts is gone on with", c do
    start(c)
    populate(c, 300)
    Standin.config(c.standin, ~s({"latency":"50-60"}))
    Standin.wipe(c.standin)
    touch(c)
    wait_until(fn -> destination(c).swept_by != "" end)
    {:ok, _} = :convex_sidecar.restart(c.name)
    :ok = :convex_sidecar.await(c.name, 10_000)
    right_again(c, 300)
  end
end
