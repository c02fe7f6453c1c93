defmodule OpenAgentsRuntime.Convex.TestingTest do
  # The modes are configuration of the VM; within a mode tests are async, which is shown with processes.
  use SidecarCase, async: false

  import OpenAgentsRuntime.Convex.Testing
  alias OpenAgentsRuntime.Convex.{Projector, Reprojection, Sidecar, Testing}

  setup do
    log = MemoryLog.new()
    configure(:convex_event_log, MemoryLog)
    configure(:convex_projection_sink, OpenAgentsRuntime.Convex.HttpSink)
    %{log: log}
  end

  defp mode(mode), do: configure(:convex_sidecar, testing: mode)

  # Another process that projects, as a test of another module would be.
  defp elsewhere(fun) do
    test = self()
    pid = spawn(fn -> send(test, {:result, fun.()}) && receive(do: (:end -> :ok)) end)
    assert_receive {:result, result}
    {pid, result}
  end

  test "nothing starts, and the application is healthy" do
    mode(:manual)
    assert Sidecar.start_link(store_dir: "/nowhere/at/all") == :ignore
    assert {:ok, pid} = Supervisor.start_link([{Sidecar, store_dir: "/nowhere"}], strategy: :one_for_one)
    assert %{active: 0} = Supervisor.count_children(pid)
    assert Sidecar.health() == :ok
    mode(:sometimes)
    assert {:error, {:bad_option, :testing, "testing must be :manual" <> _}} = Sidecar.start_link([])
  end

  test ":inline projects in the calling process, by both forms, and skips what the test has", %{log: log} do
    mode(:inline)
    MemoryLog.add(log, "r", 2)
    refute_projected(:run_summary, "r")
    assert Projector.project_run_async("r") == :ok
    assert %{write: "applied", seq: 2, form: :async} = assert_projected(:run_summary, "r")
    assert {:ok, %{write: "skipped", reason: "idempotent"}} = Projector.project_run("r")
    MemoryLog.append(log, "r", 1)
    MemoryLog.update(log, "r", %{status: "succeeded"})
    assert {:ok, %{write: "applied", lag_events: 1, summary: %{"status" => "succeeded"}}} = Projector.project_run("r")
    assert %{seq: 3} = assert_projected(:run_summary, "r", status: "succeeded")
    assert_projected(:run_summary, "r", %{"status" => "running"})
    refute_projected(:run_summary, "r", status: "failed")
    refute_projected(:codex_worker_summary, "r")
    assert [%{write: "applied"}, %{write: "skipped"}, %{write: "applied"}] = all_projected()
    assert all_projected(kind: :codex_worker_summary) == []
    assert Projector.project_run("nobody") == {:error, :run_not_found}
    assert Projector.project_run_async("nobody") == :ok
  end

  test ":manual notes the asynchronous form, and run_projections does it once", %{log: log} do
    mode(:manual)
    MemoryLog.add(log, "r", 2)
    MemoryLog.add(log, "s", 1)
    for _ <- 1..3, do: assert(Projector.project_run_async("r") == :ok)
    assert Projector.project_run_async("nobody") == :ok
    assert %{write: nil, summary: nil, form: :async} = assert_projected(:run_summary, "r")
    refute_projected(:run_summary, "s")
    assert run_projections() == %{done: 1, failed: [{:run_summary, "nobody", :run_not_found}]}
    assert %{write: "applied", seq: 2} = assert_projected(:run_summary, "r", %{"latest_seq" => 2})
    assert run_projections() == %{done: 0, failed: []}
    assert {:ok, %{write: "applied", lag_events: 1}} = Projector.project_run("s")
    assert Projector.project_all_async(:run_summary) == :ok
    assert run_projections() == %{done: 2, failed: []}
    assert with_mode(:inline, fn -> Projector.project_run_async("s") && assert_projected(:run_summary, "s") end).write == "skipped"
  end

  test "a failed assertion lists what was", %{log: log} do
    mode(:inline)
    MemoryLog.add(log, "r", 1)
    Projector.project_run_async("r")
    message = fn fun -> assert_raise(ExUnit.AssertionError, fun).message end
    text = message.(fn -> assert_projected(:run_summary, "x") end)
    assert text =~ ~s(expected run_summary "x" to be projected) and text =~ ~s(run_summary "r" applied)
    assert message.(fn -> refute_projected(:run_summary, "r") end) =~ "not to be projected"
    assert message.(fn -> assert_projected(:run_summary, "r", status: "x") end) =~ ~s(with %{"status" => "x"})
  end

  test "each test sees its own: tasks by $callers, others by allow/2, all in share/1", %{log: log} do
    mode(:inline)
    MemoryLog.add(log, "r", 1)
    project = fn -> Projector.project_run_async("r") end
    {other, :ok} = elsewhere(project)
    refute_projected(:run_summary, "r")
    # Another test has it; this one has not, so it is written here too.
    Task.await(Task.async(fn -> Task.await(Task.async(project)) end))
    assert [%{write: "applied"}] = all_projected()

    assert Task.await(Task.async(fn -> Reprojection.rebuild_all(kinds: [:run_summary]) end)) |> elem(1) |> Map.fetch!(:succeeded_entities) ==
             1

    assert length(all_projected()) == 2

    test = self()
    worker = spawn(fn -> for _ <- 1..2, do: receive(do: (:go -> send(test, {:done, project.()}))) end)
    send(worker, :go)
    assert_receive {:done, :ok}
    assert length(all_projected()) == 2
    allow(self(), worker)
    send(worker, :go)
    assert_receive {:done, :ok}
    assert length(all_projected()) == 3

    sharing = Task.async(fn -> share() && elsewhere(project) && length(all_projected()) end)
    assert Task.await(sharing) == 1
    # With who shared it, it has ended.
    wait_until(fn -> :sys.get_state(Testing.Store).shared == nil end)
    {_third, :ok} = elsewhere(project)
    assert length(all_projected()) == 3
    Process.exit(other, :kill)
    wait_until(fn -> not is_map_key(:sys.get_state(Testing.Store).entries, other) end)
  end

  test "a sink of one's own is called, and each test's are its own", %{log: log} do
    defmodule Sunk do
      use OpenAgentsRuntime.Convex.Sink
      @impl true
      def upsert(kind, id, _summary, _opts), do: send(self(), {:sunk, kind, id}) && :ok
    end

    mode(:inline)
    MemoryLog.add(log, "r", 1)
    configure(:convex_projection_sink, Sunk)
    {_pid, :ok} = elsewhere(fn -> Projector.project_run_async("r") end)
    assert Projector.project_run_async("r") == :ok
    assert_received {:sunk, :run_summary, "runtime/run_summary:r"}
    assert %{sink: Sunk, write: "applied"} = assert_projected(:run_summary, "r")
    assert {:ok, %{write: "skipped"}} = Projector.project_run("r")
    assert {:ok, %{write: "applied"}} = Projector.project_run("r", sink: OpenAgentsRuntime.Convex.NoopSink)
  end

  test ":disabled is production: the sidecar is asked", %{log: log} do
    {name, fake} = start_fake()
    configure(:convex_sidecar, testing: :disabled, name: name)
    MemoryLog.add(log, "r", 1)
    assert Projector.project_run_async("r") == :ok
    :ok = :convex_sidecar.settle(name, 5000)
    assert %{"runtime/run_summary:r" => %{folded: 1}} = FakeSidecar.documents(fake)
    assert all_projected() == []
  end
end
