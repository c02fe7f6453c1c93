defmodule OpenAgentsRuntime.Convex.DiskEventLogTest do
  use SidecarCase, async: false

  alias OpenAgentsRuntime.Convex.{DiskEventLog, EventLog}

  defp start(dir), do: start_supervised!({DiskEventLog, dir: dir})

  defp kill do
    pid = Process.whereis(DiskEventLog)
    ref = Process.monitor(pid)
    Process.exit(pid, :kill)
    assert_receive {:DOWN, ^ref, _, _, _}

    wait_until(fn ->
      is_pid(Process.whereis(DiskEventLog)) and :ets.whereis(DiskEventLog.Rows) != :undefined
    end)

    # Answers once its log has been read.
    {:error, _} = DiskEventLog.append_event("no such run", "x")
  end

  test "rows and events, with sequence numbers that have no gaps" do
    start(tmp_dir())
    assert DiskEventLog.create_run("r", %{thread_id: "t"}) == :ok
    assert DiskEventLog.create_run("r") == {:error, :exists}
    assert DiskEventLog.append_event("r", "run.started", %{a: 1}) == {:ok, 1}
    at = ~U[2026-02-19 20:00:00.000000Z]

    assert DiskEventLog.append_event("r", "run.finished", %{},
             inserted_at: at,
             row: %{status: "done"}
           ) == {:ok, 2}

    assert DiskEventLog.append_event("x", "run.started") == {:error, :not_found}

    assert {:ok, %{latest_seq: 2, thread_id: "t", status: "done", run_id: "r", updated_at: ^at}} = DiskEventLog.row(:run_summary, "r")

    assert [%{seq: 1, event_type: "run.started", run_id: "r", payload: %{a: 1}}, %{seq: 2}] =
             DiskEventLog.events_after(:run_summary, "r", 0, 10)

    assert [%{seq: 2, inserted_at: ^at}] = DiskEventLog.events_after(:run_summary, "r", 1, 10)
    assert [%{seq: 1}] = DiskEventLog.events_after(:run_summary, "r", 0, 1)
    assert DiskEventLog.events_after(:run_summary, "r", 2, 10) == []
    assert DiskEventLog.row(:codex_worker_summary, "r") == :error
  end

  test "ids come in pages, kinds apart" do
    start(tmp_dir())
    for i <- 1..5, do: DiskEventLog.create_run("r#{i}")
    DiskEventLog.create_worker("w.1", %{status: "starting"})
    assert {:ok, 1} = DiskEventLog.append_worker_event("w.1", "worker.started")
    assert :ok = DiskEventLog.update_row(:codex_worker_summary, "w.1", %{status: "running"})
    assert DiskEventLog.ids(:run_summary, nil, 2) == ["r1", "r2"]
    assert DiskEventLog.ids(:run_summary, "r2", 9) == ["r3", "r4", "r5"]
    assert DiskEventLog.ids(:run_summary, "r5", 9) == []
    assert DiskEventLog.ids(:codex_worker_summary, nil, 9) == ["w.1"]
    assert Enum.count(EventLog.stream_ids(DiskEventLog, :run_summary)) == 5

    assert {:ok, %{status: "running", latest_seq: 1}} = DiskEventLog.row(:codex_worker_summary, "w.1")
  end

  test "what was answered is there after the process was killed" do
    start(tmp_dir())
    DiskEventLog.create_run("r")

    1..4
    |> Enum.map(fn _ ->
      Task.async(fn -> for _ <- 1..50, do: DiskEventLog.append_event("r", "run.delta") end)
    end)
    |> Task.await_many()

    kill()
    assert {:ok, %{latest_seq: 200}} = DiskEventLog.row(:run_summary, "r")
    seqs = for event <- DiskEventLog.events_after(:run_summary, "r", 0, 1000), do: event.seq
    assert seqs == Enum.to_list(1..200)
    assert DiskEventLog.append_event("r", "run.delta") == {:ok, 201}
  end

  test "a torn end is repaired" do
    dir = tmp_dir()
    start(dir)
    DiskEventLog.create_run("r")
    for _ <- 1..10, do: DiskEventLog.append_event("r", "run.delta")
    # What a machine leaves that stopped in the middle of a write.
    whole = File.read!(Path.join(dir, "events.log"))
    stop_supervised!(DiskEventLog)
    torn = tmp_dir()
    File.write!(Path.join(torn, "events.log"), binary_part(whole, 0, byte_size(whole) - 7))
    start(torn)
    assert {:ok, %{latest_seq: 9}} = DiskEventLog.row(:run_summary, "r")
    assert DiskEventLog.append_event("r", "run.delta") == {:ok, 10}
  end

  test "a disk that fails is told, and nothing is shown that is not on it" do
    Process.flag(:trap_exit, true)
    start(tmp_dir())
    DiskEventLog.create_run("r")
    pid = Process.whereis(DiskEventLog)
    ref = Process.monitor(pid)
    :sys.replace_state(pid, fn state -> :disk_log.close(state.log) && state end)
    assert {:error, {:store, _}} = DiskEventLog.append_event("r", "run.delta")
    assert_receive {:DOWN, ^ref, _, _, {:store, _}}

    wait_until(fn ->
      is_pid(Process.whereis(DiskEventLog)) and Process.whereis(DiskEventLog) != pid
    end)

    assert wait_until(fn -> match?({:ok, 1}, DiskEventLog.append_event("r", "run.delta")) end)
  end
end
