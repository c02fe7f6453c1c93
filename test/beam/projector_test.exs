defmodule OpenAgentsRuntime.Convex.ProjectorTest do
  use SidecarCase, async: false

  alias OpenAgentsRuntime.Convex.{FanoutSink, HttpSink, NoopSink, Projector, Summary}

  defmodule TestSink do
    @behaviour OpenAgentsRuntime.Convex.Sink
    @impl true
    def upsert_run_summary(id, summary, opts), do: act(:run_summary, id, summary, opts)
    @impl true
    def upsert_codex_worker_summary(id, summary, opts),
      do: act(:codex_worker_summary, id, summary, opts)

    defp act(kind, id, summary, opts) do
      send(opts[:test] || self(), {:sunk, opts[:as], kind, id, summary})

      case opts[:answer] do
        nil -> :ok
        fun when is_function(fun) -> fun.()
        answer -> answer
      end
    end
  end

  setup do
    configure(:convex_event_log, MemoryLog)
    watch_telemetry()
    %{log: MemoryLog.new()}
  end

  defp start_sidecar do
    {name, fake} = start_fake()
    configure(:convex_sidecar, name: name)
    {name, fake}
  end

  describe "through the sidecar" do
    test "the result is the runtime's", %{log: log} do
      {_name, fake} = start_sidecar()
      MemoryLog.add(log, "r", 2)

      assert {:ok,
              %{
                document_id: "runtime/run_summary:r",
                summary: %{"latest_seq" => 2},
                write: "queued",
                reason: nil,
                seq: 2,
                lag_events: 2
              }} = Projector.project_run("r")

      assert {:ok, %{write: "skipped", reason: "idempotent"}} = Projector.project_run("r")
      assert {:ok, %{summary: nil}} = Projector.project_run("r", return: nil)

      assert {:ok, %{write: "applied"}} = MemoryLog.append(log, "r", 1) && Projector.project_run("r", ack: :written)

      requests = FakeSidecar.requests(fake)

      assert {:project, :run_summary, "r", row, [%{seq: 2}, %{seq: 3}], %{ack: :written, return: :summary, log_end: 3}} =
               List.last(requests)

      assert row == %{run_id: "r", latest_seq: 3, status: "running"}
    end

    test "only the columns of the document go over", %{log: log} do
      {_name, fake} = start_sidecar()
      MemoryLog.add(log, "r", 1, %{secret_column: String.duplicate("x", 1000), owner_user_id: 7})
      {:ok, _} = Projector.project_run("r", sink: HttpSink)
      [{:project, _, _, row, _, _} | _] = FakeSidecar.requests(fake)
      assert Enum.sort(Map.keys(row)) == [:latest_seq, :owner_user_id, :run_id, :status]
    end

    test "codex workers, and entities that are not there", %{log: log} do
      start_sidecar()
      MemoryLog.add(log, "w.1", 1, %{worker_id: "w.1"}, :codex_worker_summary)

      assert {:ok, %{document_id: "runtime/codex_worker_summary:w.1"}} = Projector.project_codex_worker("w.1")

      assert Projector.project_run("nobody") == {:error, :run_not_found}
      assert Projector.project_codex_worker("nobody") == {:error, :worker_not_found}
      assert_received {:telemetry, :write, _, %{projection: "codex_worker_summary", result: "ok"}}
      refute_received {:telemetry, :write_failure, _, _}
    end

    test "telemetry of each outcome", %{log: log} do
      {name, fake} = start_sidecar()
      MemoryLog.add(log, "r", 3)
      Projector.project_run("r")

      assert_received {:telemetry, :write, %{count: 1, lag_events: 3, duration_ms: ms},
                       %{
                         projection: "run_summary",
                         result: "ok",
                         reason_class: "none",
                         document_id: "runtime/run_summary:r"
                       }}

      assert ms >= 0
      Projector.project_run("r")
      assert_received {:telemetry, :write, _, %{result: "skipped", reason_class: "idempotent"}}
      refute_received {:telemetry, :drift, _, _}

      MemoryLog.update(log, "r", %{status: "finished"})
      Projector.project_run("r")
      assert_received {:telemetry, :drift, %{count: 1}, %{reason_class: "summary_hash_mismatch"}}

      # a hash mismatch is looked at once more, by the conveyor
      :ok = :convex_sidecar.settle(name, 5000)
      FakeSidecar.script(fake, [{:error, :not_projector_owned}])
      assert {:error, {:sink_write_failed, :not_projector_owned}} = Projector.project_run("r")

      assert_received {:telemetry, :write, _, %{result: "error", reason_class: "not_projector_owned"}}

      assert_received {:telemetry, :write_failure, %{count: 1}, %{projection: "run_summary"}}
    end

    test "errors have the runtime's shape", %{log: log} do
      {_name, fake} = start_sidecar()
      MemoryLog.add(log, "r", 1)

      for {sidecar, runtime} <- [
            {{:sink_write_failed, "x"}, {:sink_write_failed, "x"}},
            {{:invalid, "metadata.x", "too deep"}, {:invalid_summary, {:invalid, "metadata.x", "too deep"}}},
            {{:invalid, "", "runtime_seq_missing"}, {:invalid_summary, :runtime_seq_missing}},
            {{:unknown_kind, "x"}, {:sink_write_failed, {:unknown_kind, "x"}}}
          ] do
        FakeSidecar.script(fake, [{:error, sidecar}])
        assert Projector.project_run("r") == {:error, runtime}
      end

      assert {:ok, _} = Projector.project_run("r")
      MemoryLog.append(log, "r", 3)
      MemoryLog.lose(log, "r", 2)
      assert Projector.project_run("r") == {:error, {:invalid_summary, {:gap, 2, 3}}}
      # A history that was pruned is none.
      MemoryLog.lose(log, "r", 1)
      assert {:ok, %{seq: 4}} = Projector.project_run("r")
    end

    test "a call the sidecar could not take is made good later", %{log: log} do
      {name, fake} = start_sidecar()
      MemoryLog.add(log, "r", 1)
      FakeSidecar.script(fake, [{:error, :busy}])
      assert {:error, {:sink_write_failed, :busy}} = Projector.project_run("r")
      :ok = :convex_sidecar.settle(name, 5000)
      assert %{"runtime/run_summary:r" => %{folded: 1}} = FakeSidecar.documents(fake)
    end

    test "the asynchronous form is ok, and told when it is done", %{log: log} do
      {name, fake} = start_sidecar()
      MemoryLog.add(log, "r", 1)
      MemoryLog.add(log, "w.1", 1, %{worker_id: "w.1"}, :codex_worker_summary)
      assert Projector.project_run_async("r") == :ok
      assert Projector.project_codex_worker_async("w.1") == :ok
      :ok = :convex_sidecar.settle(name, 5000)
      assert map_size(FakeSidecar.documents(fake)) == 2

      assert_received {:telemetry, :write, %{lag_events: 1}, %{document_id: "runtime/run_summary:r"}}
    end

    test "with a sidecar that is configured but not started nothing is lost quietly" do
      configure(:convex_sidecar, name: unique_name())
      MemoryLog.add(MemoryLog.new(), "r", 1)
      assert Projector.project_run("r") == {:error, {:sink_write_failed, :unavailable}}
      assert_received {:telemetry, :write_failure, _, %{reason_class: "unavailable"}}
      assert Projector.project_run_async("r") == :ok
      assert_received {:telemetry, :write_failure, _, %{reason_class: "unavailable"}}
    end
  end

  describe "through a sink in the VM" do
    test "it is given the whole document, field for field", %{log: log} do
      now = ~U[2026-02-19 20:00:00.000000Z]
      configure(:convex_projection_sink, TestSink)

      MemoryLog.add(log, "r", 6000, %{
        thread_id: "t",
        owner_user_id: 7,
        owner_guest_scope: nil,
        terminal_at: now,
        updated_at: now
      })

      assert {:ok, %{write: "applied", reason: nil, summary: summary}} = Projector.project_run("r", now: now)

      assert_received {:sunk, nil, :run_summary, "runtime/run_summary:r", ^summary}

      assert summary == %{
               "document_id" => "runtime/run_summary:r",
               "kind" => "run_summary",
               "run_id" => "r",
               "thread_id" => "t",
               "status" => "running",
               "owner_user_id" => 7,
               "owner_guest_scope" => nil,
               "latest_seq" => 6000,
               "event_count" => 6000,
               "latest_event_type" => "run.delta",
               "latest_event_at" => "2026-02-19T20:00:00.000000Z",
               "terminal_reason_class" => nil,
               "terminal_reason" => nil,
               "terminal_at" => "2026-02-19T20:00:00.000000Z",
               "updated_at" => "2026-02-19T20:00:00.000000Z",
               "runtime_source" => %{"entity" => "run", "run_id" => "r", "seq" => 6000},
               "projection_version" => "convex_summary_v1",
               "projected_at" => "2026-02-19T20:00:00.000000Z"
             }
    end

    test "a worker's document; string keys; no events" do
      row = %{"worker_id" => "w.1", "status" => "starting", "latest_seq" => 4}

      summary = Summary.summary(:codex_worker_summary, row, %{count: 0, latest: nil}, projection_version: "v2")

      assert Enum.sort(Map.keys(summary)) ==
               Enum.sort(~w(document_id kind worker_id status owner_user_id owner_guest_scope workspace_ref
                    codex_home_ref adapter metadata latest_seq event_count latest_event_type
                    latest_event_at started_at stopped_at last_heartbeat_at updated_at
                    runtime_source projection_version projected_at))

      assert summary["runtime_source"] == %{
               "entity" => "codex_worker",
               "worker_id" => "w.1",
               "seq" => 4
             }

      assert %{"metadata" => %{}, "latest_seq" => 4, "projection_version" => "v2"} = summary
    end

    test "what it does wrong is wrapped", %{log: log} do
      MemoryLog.add(log, "r", 1)

      project = fn answer ->
        Projector.project_run("r", sink: TestSink, sink_opts: [answer: answer])
      end

      assert project.({:error, :down}) == {:error, {:sink_write_failed, :down}}
      assert project.(:what) == {:error, {:sink_write_failed, {:invalid_sink_result, :what}}}

      assert {:error, {:sink_write_failed, {:sink_exception, %RuntimeError{}}}} = project.(fn -> raise "x" end)

      assert project.(fn -> throw(:ball) end) ==
               {:error, {:sink_write_failed, {:sink_throw, {:throw, :ball}}}}

      assert_received {:telemetry, :write_failure, _, %{reason_class: "down"}}
      assert_received {:telemetry, :write_failure, _, %{reason_class: "sink_exception"}}
    end

    test "a document without version or seq does not reach it", %{log: log} do
      MemoryLog.add(log, "r", 0, %{latest_seq: -1})

      assert Projector.project_run("r", sink: TestSink) ==
               {:error, {:invalid_summary, :runtime_seq_missing}}

      assert Summary.validate(%{}) == {:error, :runtime_seq_missing}
      from = %{"runtime_source" => %{"seq" => 1}}
      assert Summary.validate(from) == {:error, :projection_version_missing}
      from = Map.put(from, "projection_version", "v")
      assert Summary.validate(from) == {:error, :projected_at_missing}

      assert Summary.validate(Map.put(from, "projected_at", "noon")) ==
               {:error, :projected_at_invalid}

      assert Summary.validate(Map.put(from, "projected_at", "2026-02-19T20:00:00Z")) == :ok
      refute_received {:sunk, _, _, _, _}
    end

    test "no sink and no sidecar: as the runtime's default, applied and written nowhere", %{
      log: log
    } do
      MemoryLog.add(log, "r", 1)
      assert {:ok, %{write: "applied"}} = Projector.project_run("r", sidecar: unique_name())
      assert {:ok, %{write: "skipped"}} = Projector.project_run("r", sink: NoopSink)
    end

    test "the asynchronous form runs in a process of its own", %{log: log} do
      MemoryLog.add(log, "r", 1)
      sink_opts = [test: self()]
      assert Projector.project_run_async("r", sink: TestSink, sink_opts: sink_opts) == :ok
      assert_receive {:sunk, nil, :run_summary, "runtime/run_summary:r", _}
    end

    test "fan-out stops at the first error" do
      good = {TestSink, [as: 1]}
      bad = {TestSink, [as: 2, answer: {:error, :no}]}
      upsert = fn sinks -> FanoutSink.upsert_run_summary("d", %{}, sinks: sinks) end
      assert upsert.([good, TestSink]) == :ok
      assert upsert.([good, bad, {TestSink, [as: 3]}]) == {:error, :no}
      assert_received {:sunk, 2, _, _, _}
      refute_received {:sunk, 3, _, _, _}
      configure(:convex_fanout_sinks, [{TestSink, [as: 4]}])
      assert FanoutSink.upsert_codex_worker_summary("d", %{}, []) == :ok
      assert_received {:sunk, 4, :codex_worker_summary, "d", %{}}
    end

    test "HttpSink gives the document to the sidecar" do
      {_name, fake} = start_sidecar()
      summary = %{"runtime_source" => %{"seq" => 1}}
      assert HttpSink.upsert_run_summary("runtime/run_summary:r", summary, ack: :written) == :ok

      assert FakeSidecar.requests(fake) == [
               {:upsert, :run_summary, "runtime/run_summary:r", summary, %{ack: :written}}
             ]

      FakeSidecar.script(fake, [{:error, {:sink_write_failed, "refused"}}, {:error, :busy}])
      assert HttpSink.upsert_codex_worker_summary("d", summary, []) == {:error, "refused"}
      assert HttpSink.upsert_codex_worker_summary("d", summary, []) == {:error, :busy}
      assert HttpSink.upsert_run_summary("d", summary, sidecar: :no_such) == {:error, :unavailable}
    end
  end

  test "a telemetry handler that fails does not fail the projection", %{log: log} do
    MemoryLog.add(log, "r", 1)
    configure(:convex_telemetry_handler, fn _, _, _ -> raise "x" end)
    assert {:ok, _} = Projector.project_run("r", sink: NoopSink)
  end

  test "without an event log: one clear line, the asynchronous form is :ok, the call an error" do
    configure(:convex_event_log, nil)

    said =
      ExUnit.CaptureLog.capture_log(fn ->
        for _ <- 1..3, do: assert(Projector.project_run_async("r", sidecar: :some) == :ok)
        assert Projector.project_run("r", sidecar: :some) == {:error, {:sink_write_failed, :no_event_log}}
        assert Projector.project_all_async(:run_summary) == {:error, :no_event_log}
      end)

    assert [_before, _after] = String.split(said, "nothing is projected, no event log: set `config")
  end

  test "the asynchronous form is always :ok, whatever is configured", %{log: log} do
    MemoryLog.add(log, "r", 1)

    ExUnit.CaptureLog.capture_log(fn ->
      assert Projector.project_run_async("r", sidecar: {:elsewhere, :"a@127.0.0.1"}) == :ok
      assert Projector.project_run_async("r", sidecar: unique_name()) == :ok
      configure(:convex_kinds, bad: [prefix: 1])
      assert Projector.project_run_async("r", sidecar: unique_name()) == :ok
    end)
  end

  test "async: true, or the configuration, makes the call asynchronous and keeps its shape", %{log: log} do
    {name, fake} = start_fake()
    MemoryLog.add(log, "r", 2)
    noted = {:ok, %{document_id: "runtime/run_summary:r", summary: nil, write: "noted", reason: nil, lag_events: 0}}
    assert Projector.project_run("r", sidecar: name, async: true) == noted
    :ok = :convex_sidecar.settle(name, 5000)
    assert %{"runtime/run_summary:r" => %{folded: 2}} = FakeSidecar.documents(fake)
    configure(:convex_projection_async, true)
    MemoryLog.append(log, "r", 1)
    assert Projector.project_run("r", sidecar: name) == noted
    :ok = :convex_sidecar.settle(name, 5000)
    assert %{"runtime/run_summary:r" => %{folded: 3}} = FakeSidecar.documents(fake)
    # Who wants an answer gets one, and a rebuild is one.
    assert {:ok, %{write: "skipped"}} = Projector.project_run("r", sidecar: name, timeout: 1000)
    assert {:ok, %{write: "skipped"}} = Projector.project_run("r", sidecar: name, async: false)
    assert {:ok, %{write: "queued"}} = OpenAgentsRuntime.Convex.Reprojection.rebuild_run("r", sidecar: name)
  end

  test "a call's projection_version goes along when the conveyor looks again", %{log: log} do
    {name, fake} = start_fake()
    MemoryLog.add(log, "r", 1)
    assert {:ok, _} = Projector.project_run("r", sidecar: name, projection_version: "v9")
    MemoryLog.update(log, "r", %{status: "other"})
    assert {:ok, %{reason: "summary_hash_mismatch"}} = Projector.project_run("r", sidecar: name, projection_version: "v9")
    :ok = :convex_sidecar.settle(name, 5000)

    versions =
      for request <- FakeSidecar.requests(fake),
          {:project, _, "r", _, _, options} <- List.wrap(with({:batch, requests} <- request, do: requests)),
          do: options[:projection_version]

    assert versions == ["v9", "v9", "v9"]
    # An empty one is none.
    assert {:ok, _} = Projector.project_run("r", sidecar: name, projection_version: "")
    refute Map.has_key?(fake |> FakeSidecar.requests() |> List.last() |> elem(5), :projection_version)
  end

  test "integers beyond 64 bits go over as floats, as text, or as they are", %{log: log} do
    {name, fake} = start_fake()
    many = Integer.pow(10, 21)
    metadata = %{"v" => [many, %{"w" => -many}, 7, 1.5], "x" => Integer.pow(10, 400), "y" => 9_223_372_036_854_775_807}
    MemoryLog.add(log, "w", 1, %{metadata: metadata}, :codex_worker_summary)
    digits = Integer.to_string(many)
    huge = Integer.to_string(Integer.pow(10, 400))

    for {treatment, v, w, x} <- [
          {nil, 1.0e21, -1.0e21, huge},
          {:float, 1.0e21, -1.0e21, huge},
          {:text, digits, "-" <> digits, huge},
          {:refuse, many, -many, Integer.pow(10, 400)}
        ] do
      configure(:convex_big_numbers, treatment)
      assert {:ok, _} = Projector.project_codex_worker("w", sidecar: name)
      row = FakeSidecar.documents(fake)["runtime/codex_worker_summary:w"].row
      assert row.metadata == %{"v" => [v, %{"w" => w}, 7, 1.5], "x" => x, "y" => 9_223_372_036_854_775_807}
    end

    configure(:convex_big_numbers, nil)
    assert OpenAgentsRuntime.Convex.BigNumbers.sendable(~U[2026-02-19 20:00:00Z]) == ~U[2026-02-19 20:00:00Z]
  end

  describe "a sink of one's own has a checkpoint:" do
    setup do
      watch_telemetry()
      :ok
    end

    defp sunk(opts \\ []), do: Projector.project_run("r", Keyword.merge([sink: TestSink, sink_opts: [answer: :ok]], opts))

    test "what it has is skipped; lag and drift are told, with the entity's id", %{log: log} do
      MemoryLog.add(log, "r", 2)
      assert {:ok, %{write: "applied", lag_events: 2, reason: nil, projection_hash: hash}} = sunk()
      assert {:ok, %{write: "skipped", lag_events: 0, reason: "idempotent", projection_hash: ^hash}} = sunk()
      MemoryLog.append(log, "r", 3)
      assert {:ok, %{write: "applied", lag_events: 3, reason: nil}} = sunk()
      MemoryLog.update(log, "r", %{status: "done"})
      assert {:ok, %{write: "applied", reason: "summary_hash_mismatch"}} = sunk()
      assert {:ok, %{write: "applied", reason: "projection_version_changed"}} = sunk(projection_version: "v2")
      entity = %{projection: "run_summary", document_id: "runtime/run_summary:r", entity_id: "r"}

      for why <- ["summary_hash_mismatch", "projection_version_changed"] do
        drift = Map.put(entity, :reason_class, why)
        assert_received {:telemetry, :drift, %{count: 1}, ^drift}
      end

      skipped = Map.merge(entity, %{result: "skipped", reason_class: "idempotent"})
      assert_received {:telemetry, :write, %{lag_events: 0}, ^skipped}
    end

    test "what it refused, and what is rebuilt or forgotten, is written again", %{log: log} do
      MemoryLog.add(log, "r", 1)
      assert {:error, _} = sunk(sink_opts: [answer: {:error, :down}])
      assert {:ok, %{write: "applied"}} = sunk()
      assert {:ok, %{write: "skipped"}} = sunk()
      assert {:ok, %{write: "applied"}} = sunk(reset: true, force: true)
      OpenAgentsRuntime.Convex.SinkCheckpoints.forget_all()
      assert {:ok, %{write: "applied", lag_events: 1}} = sunk()
      # Another place has not got it.
      assert {:ok, %{write: "applied"}} = sunk(sink_opts: [answer: :ok, other: true])
    end

    test "a history that has become shorter is ahead: only a rebuild goes below", %{log: log} do
      MemoryLog.add(log, "r", 3)
      assert {:ok, _} = sunk()
      MemoryLog.lose(log, "r", 3)
      assert {:ok, %{write: "skipped", reason: "checkpoint_ahead"}} = sunk()
      assert {:ok, %{write: "applied"}} = sunk(reset: true)
    end

    test "their number is bounded", %{log: log} do
      configure(:convex_sink_checkpoint_limit, 2)
      for id <- ~w(a b c r), do: MemoryLog.add(log, id, 1)
      for id <- ~w(a b c r), do: {:ok, _} = Projector.project_run(id, sink: TestSink, sink_opts: [answer: :ok])
      assert :ets.info(OpenAgentsRuntime.Convex.SinkCheckpoints, :size) <= 2
    end
  end
end
