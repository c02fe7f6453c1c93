defmodule OpenAgentsRuntime.Convex.ReprojectionTest do
  use SidecarCase, async: false

  import ExUnit.CaptureIO

  alias Mix.Tasks.Runtime.Convex.Reproject
  alias OpenAgentsRuntime.Convex.{RebuildState, Reprojection}

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
    assert [{:project, :run_summary, "r1", _, events, opts}] = FakeSidecar.requests(fake)
    assert %{reset: true, force: true, unless_ahead: true} = opts
    assert Enum.map(events, & &1.seq) == [1, 2, 3]

    assert_received {:telemetry, :replay, %{count: 1, duration_ms: ^ms}, %{scope: "run", result: "ok", reason_class: "none"}}
  end

  test "a long run is one request, with the last page and the number of events before", c do
    for n <- [7000, 5000, 10_000] do
      id = "long#{n}"
      MemoryLog.add(c.log, id, n)
      assert {:ok, _} = Reprojection.rebuild_run(id)
      assert {:project, _, ^id, _, events, opts} = List.last(FakeSidecar.requests(c.fake))

      assert {length(events), opts[:events_before]} ==
               if(n == 7000, do: {2000, 5000}, else: {5000, if(n > 5000, do: 5000)})

      assert %{folded: ^n, count: ^n} = FakeSidecar.documents(c.fake)["runtime/run_summary:#{id}"]
    end

    assert length(FakeSidecar.requests(c.fake)) == 3
    MemoryLog.lose(c.log, "long7000", 4000)
    assert {:error, %{reason: "invalid_summary"}} = Reprojection.rebuild_run("long7000")
  end

  test "all of it: what is busy for a moment is no failure, unless the caller says so", %{fake: fake} do
    FakeSidecar.script(fake, [{:error, :busy}, {:error, :draining}])
    assert {:ok, %{total_entities: 3, failed_entities: 0}} = Reprojection.rebuild_all()
    assert length(FakeSidecar.requests(fake)) == 5
    FakeSidecar.script(fake, [{:error, :busy}])
    assert {:ok, %{failed_entities: 1}} = Reprojection.rebuild_all(wait: false)
  end

  test "rebuilt is written, also what was there already; with force: false it is not", %{fake: fake} do
    assert {:ok, %{write: "queued"}} = Reprojection.rebuild_run("r1")
    assert {:ok, %{write: "queued"}} = Reprojection.rebuild_run("r1")

    assert {:ok, %{write: "skipped", reason: "idempotent"}} = Reprojection.rebuild_run("r1", force: false)

    assert {:ok, %{write: "queued"}} = Reprojection.rebuild_run("r1", clear: true)
    assert [{:clear, "runtime/run_summary:r1"}, _] = Enum.take(FakeSidecar.requests(fake), -2)
  end

  test "what is appended meanwhile is not undone: the log is read again", %{log: log, fake: fake} do
    assert {:ok, _} = Reprojection.rebuild_run("r1")

    # While the rebuild of three events is on its way, a fourth is appended and projected.
    FakeSidecar.script(fake, [
      fn _rebuild ->
        MemoryLog.append(log, "r1", 1)

        {:ok,
         %{
           write: "skipped",
           reason: "checkpoint_ahead",
           document_id: "runtime/run_summary:r1",
           seq: 3
         }}
      end
    ])

    assert {:ok, %{write: "queued"}} = Reprojection.rebuild_run("r1")
    assert %{"runtime/run_summary:r1" => %{folded: 4, count: 4}} = FakeSidecar.documents(fake)
  end

  test "history corrected to less goes below what stands", %{log: log, fake: fake} do
    assert {:ok, _} = Reprojection.rebuild_run("r1")
    MemoryLog.lose(log, "r1", 3)
    assert {:ok, %{write: "queued", reason: "checkpoint_ahead"}} = Reprojection.rebuild_run("r1")
    assert %{"runtime/run_summary:r1" => %{folded: 2, count: 2}} = FakeSidecar.documents(fake)

    # What is looked at again later comes in batches.
    asked = for {:project, _, _, _, _, opts} <- FakeSidecar.requests(fake), do: opts[:unless_ahead]
    assert [true, false, nil] == Enum.take(asked, -3)
  end

  test "what was cleared and then refused for the moment comes back", %{fake: fake} do
    assert {:ok, _} = Reprojection.rebuild_run("r1")
    FakeSidecar.script(fake, [:normal, {:error, :busy}])
    assert {:error, %{reason: "sink_write_failed"}} = Reprojection.rebuild_run("r1", clear: true)
    name = Application.get_env(:openagents_runtime, :convex_sidecar)[:name]
    :ok = :convex_sidecar.settle(name, 5000)
    assert %{"runtime/run_summary:r1" => %{folded: 3}} = FakeSidecar.documents(fake)
  end

  test "what fails says why" do
    assert {:error, %{result: "error", write: nil, reason: "worker_not_found", scope: "codex_worker"}} =
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

  describe "resume" do
    setup %{log: log} do
      for i <- 100..139, do: MemoryLog.add(log, "s#{i}", 1)
      %{state: Path.join(tmp_dir(), "state"), opts: [worker_ids: [], max_concurrency: 3]}
    end

    defp rebuilt(fake, from),
      do: for({:project, _, id, _, _, _} <- Enum.drop(FakeSidecar.requests(fake), from), do: id)

    test "cancelled, it finishes what is under way and goes on later", %{fake: fake} = c do
      canceller = Reprojection.canceller()

      # The tenth request cancels: at most the two others of three are still to come then.
      cancel = fn _tenth ->
        Reprojection.cancel(canceller)
        :normal
      end

      FakeSidecar.script(fake, List.duplicate(:normal, 9) ++ [cancel])
      opts = c.opts ++ [resume: c.state]

      assert {:ok, %{cancelled: true, total_entities: 42, succeeded_entities: n, failed_entities: 0}} =
               Reprojection.rebuild_all(opts ++ [canceller: canceller])

      assert n in 10..12
      assert length(rebuilt(fake, 0)) == n
      assert {:ok, summary} = Reprojection.rebuild_all(opts)
      assert %{succeeded_entities: m, total_entities: m} = summary
      refute Map.has_key?(summary, :cancelled)
      assert n + m == 42

      assert Enum.sort(rebuilt(fake, 0)) ==
               Enum.sort(["r1", "r2" | for(i <- 100..139, do: "s#{i}")])

      refute File.exists?(c.state)
    end

    test "what failed is tried again first, and no more", %{fake: fake} = c do
      MemoryLog.add(c.log, "s1 ü€", 1)
      for id <- ["s105", "s1 ü€"], do: MemoryLog.fail(c.log, id, true)
      opts = c.opts ++ [resume: c.state, results: :failed]
      assert {:ok, %{failed_entities: 2, results: [_, _]}} = Reprojection.rebuild_all(opts)
      assert File.read!(c.state) =~ "s105"
      for id <- ["s105", "s1 ü€"], do: MemoryLog.fail(c.log, id, false)
      before = length(FakeSidecar.requests(fake))

      assert {:ok, %{total_entities: 2, succeeded_entities: 2, results: []}} = Reprojection.rebuild_all(opts)

      assert Enum.sort(rebuilt(fake, before)) == ["s1 ü€", "s105"]
      refute File.exists?(c.state)
    end

    test "a file of something else is not believed", c do
      File.write!(
        c.state,
        "{convex_rebuild, 1}. {selection, 5}. {position, nil}. {failed, []}. {done, 3}."
      )

      assert_raise ArgumentError, ~r/something else/, fn ->
        Reprojection.rebuild_all(c.opts ++ [resume: c.state])
      end

      # An empty file is no state of anything, and nobody else's.
      File.write!(c.state, "")
      assert RebuildState.open(c.state, 5, nil).done == 0

      File.write!(c.state, "{nonsense, 1}.")

      assert_raise ArgumentError, ~r/not the state/, fn ->
        Reprojection.rebuild_all(c.opts ++ [resume: c.state])
      end

      File.write!(c.state, "{nonsense")
      assert_raise ArgumentError, fn -> Reprojection.rebuild_all(c.opts ++ [resume: c.state]) end
    end

    test "after an entity", %{fake: fake} = c do
      assert {:ok, %{total_entities: 2}} = Reprojection.rebuild_all(c.opts ++ [after: {:run_summary, "s137"}])

      assert Enum.sort(rebuilt(fake, 0)) == ["s138", "s139"]

      assert {:ok, %{total_entities: 1}} = Reprojection.rebuild_all(after: {:codex_worker_summary, "w"})

      assert {:ok, %{total_entities: 1}} =
               Reprojection.rebuild_all(
                 run_ids: ["r2", "r1"],
                 worker_ids: [],
                 after: {:run_summary, "r2"}
               )

      assert_raise ArgumentError, fn ->
        Reprojection.rebuild_all(run_ids: ["r1"], after: {:run_summary, "r2"})
      end

      assert_raise ArgumentError, fn -> Reprojection.rebuild_all(after: {:nothing, "r2"}) end
    end

    test "the mix task is cancelled by a signal, keeps the VM, and resumes", %{fake: fake} = c do
      FakeSidecar.script(fake, List.duplicate(:normal, 5) ++ [:silent])
      test = self()
      # Asked after the task's own handler, which is newer.
      {:ok, trap} = System.trap_signal(:sigterm, fn -> send(test, :terminated) && :ok end)
      on_exit(fn -> System.untrap_signal(:sigterm, trap) end)

      task =
        Task.async(fn ->
          capture_io(:stderr, fn ->
            send(
              test,
              {:out,
               capture_io(fn ->
                 assert catch_exit(Reproject.run(["--all", "--concurrency", "1", "--resume", c.state])) == {:shutdown, 1}
               end)}
            )
          end)
        end)

      wait_until(fn -> length(FakeSidecar.requests(fake)) == 6 end)
      {_, 0} = System.cmd("kill", ["-TERM", System.pid()])
      assert_receive :terminated, 5000
      FakeSidecar.wake(fake, {:ok, %{write: "queued", reason: nil, document_id: "d", seq: 1}})
      assert Task.await(task) =~ "--resume #{c.state} goes on"
      assert_receive {:out, out}
      assert out =~ "succeeded_entities: 6"

      assert capture_io(fn -> Reproject.run(["--all", "--resume", c.state]) end) =~
               "total_entities: 37"

      refute File.exists?(c.state)
    end
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
          ["--all", "--concurrency", "0"],
          ["--run-id", "x", "--resume", "f"]
        ],
        do: assert_raise(Mix.Error, fn -> run.(wrong) end)
  end

  test "progress in words" do
    text = Reproject.progress_text(%{done: 500, failed: 2, total: 1500}, 2000)
    assert text == "500/1500, 2 failed, 250/s, 4 s left"
    assert Reproject.progress_text(%{done: 0, failed: 0, total: 9}, 0) == "0/9, 0/s, starting"
  end
end
