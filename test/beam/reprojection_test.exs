defmodule OpenAgentsRuntime.Convex.ReprojectionTest do
  use SidecarCase, async: false

  import ExUnit.CaptureIO

  alias Mix.Tasks.Runtime.Convex.Reproject
  alias OpenAgentsRuntime.Convex.Reprojection

  setup do
    configure(:convex_event_log, MemoryLog)
    watch_telemetry()
    log = MemoryLog.new()
    {name, fake} = start_fake()
    configure(:convex_sidecar, name: name)
    MemoryLog.add(log, "r1", 3)
    MemoryLog.add(log, "r2", 2)
    MemoryLog.add(log, "w.1", 1, %{worker_id: "w.1"}, :codex_worker_summary)
    %{log: log, fake: fake}
  end

  test "one run: everything again, from the first event", %{fake: fake} do
    assert {:ok,
            %{
              scope: "run",
              entity_id: "r1",
              result: "ok",
              write: "queued",
              reason: nil,
              duration_ms: ms
            }} = Reprojection.rebuild_run("r1")

    assert is_integer(ms)
    assert [{:clear, "runtime/run_summary:r1"}, project] = FakeSidecar.requests(fake)
    assert {:project, :run_summary, "r1", _, events, %{reset: true}} = project
    assert Enum.map(events, & &1.seq) == [1, 2, 3]

    assert_received {:telemetry, :replay, %{count: 1, duration_ms: ^ms},
                     %{scope: "run", result: "ok", reason_class: "none"}}
  end

  test "a long run resets once", %{log: log, fake: fake} do
    MemoryLog.add(log, "long", 7000)
    assert {:ok, _} = Reprojection.rebuild_run("long")

    assert [true, nil] ==
             for({:project, _, _, _, _, opts} <- FakeSidecar.requests(fake), do: opts[:reset])

    assert %{"runtime/run_summary:long" => %{folded: 7000, count: 7000}} =
             FakeSidecar.documents(fake)
  end

  test "rebuilt is written, also what was there already; with clear: false it is not" do
    assert {:ok, %{write: "queued"}} = Reprojection.rebuild_run("r1")
    assert {:ok, %{write: "queued"}} = Reprojection.rebuild_run("r1")

    assert {:ok, %{write: "skipped", reason: "idempotent"}} =
             Reprojection.rebuild_run("r1", clear: false)
  end

  test "what was cleared and then refused for the moment comes back", %{fake: fake} do
    assert {:ok, _} = Reprojection.rebuild_run("r1")
    FakeSidecar.script(fake, [:normal, {:error, :busy}])
    assert {:error, %{reason: "sink_write_failed"}} = Reprojection.rebuild_run("r1")
    name = Application.get_env(:openagents_runtime, :convex_sidecar)[:name]
    :ok = :convex_sidecar.settle(name, 5000)
    assert %{"runtime/run_summary:r1" => %{folded: 3}} = FakeSidecar.documents(fake)
  end

  test "what fails says why" do
    assert {:error,
            %{result: "error", write: nil, reason: "worker_not_found", scope: "codex_worker"}} =
             Reprojection.rebuild_codex_worker("nobody")

    assert_received {:telemetry, :replay, _, %{result: "error", reason_class: "worker_not_found"}}
  end

  test "all, with progress; an entity that fails does not end it", %{log: log, fake: fake} do
    MemoryLog.fail(log, "r2", true)
    test = self()
    progress = fn progress -> send(test, {:progress, progress}) end

    assert {:ok, %{total_entities: 3, succeeded_entities: 2, failed_entities: 1, results: results}} =
             Reprojection.rebuild_all(progress: progress)

    assert [{"run", "r1", "ok"}, {"run", "r2", "error"}, {"codex_worker", "w.1", "ok"}] ==
             Enum.map(results, &{&1.scope, &1.entity_id, &1.result})

    assert_received {:progress, %{done: 0, total: 3}}
    assert_received {:progress, %{done: 3, failed: 1, total: 3}}
    assert map_size(FakeSidecar.documents(fake)) == 2
  end

  test "chosen ids" do
    assert {:ok, %{total_entities: 1, results: [%{entity_id: "r2"}]}} =
             Reprojection.rebuild_all(run_ids: ["r2", "r2", :junk], worker_ids: [])
  end

  test "the mix task" do
    run = &Reproject.run/1

    assert capture_io(fn -> run.(["--run-id", "r1"]) end) =~
             "scope=run entity=r1 result=ok write=queued"

    out = capture_io(fn -> run.(["--all"]) end)
    assert out =~ "3/3, "
    assert out =~ "succeeded_entities: 3"
    assert out =~ "failed_entities: 0"

    assert capture_io(:stderr, fn ->
             assert catch_exit(run.(["--worker-id", "nobody"])) == {:shutdown, 1}
           end) =~ "reason=worker_not_found"

    for wrong <- [
          [],
          ["--all", "--run-id", "x"],
          ["--al"],
          ["x", "--all"],
          ["--all", "--concurrency", "0"]
        ],
        do: assert_raise(Mix.Error, fn -> run.(wrong) end)
  end

  test "progress in words" do
    text = Reproject.progress_text(%{done: 500, failed: 2, total: 1500}, 2000)
    assert text == "500/1500, 2 failed, 250/s, 4 s left"
    assert Reproject.progress_text(%{done: 0, failed: 0, total: 9}, 0) == "0/9, 0/s, starting"
  end
end
