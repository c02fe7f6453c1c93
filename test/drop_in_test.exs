defmodule DropInTest do
  # What the real runtime met on its way to the sidecar (docs/guides/from-http-sink.md, "What differs"), against the real
  # program, by both forms.
  use SidecarCase, async: false

  alias OpenAgentsRuntime.Convex.{Projector, Sidecar}

  setup do
    log = MemoryLog.new()
    name = unique_name("drop_in_#{System.pid()}")
    configure(:convex_event_log, MemoryLog)
    configure(:convex_sidecar, name: name, store_dir: Path.join(tmp_dir(), "store"), catch_up: false)
    start_supervised!(Sidecar)
    on_exit(fn -> :convex_sidecar_instance.close(name) end)
    :ok = :convex_sidecar.await(name, 10_000)
    watch_telemetry()
    watch_log()
    %{log: log, name: name}
  end

  defp project(:call, kind, id, _name), do: Projector.project(kind, id)

  defp project(:async, kind, id, name) do
    :ok = Projector.project_async(kind, id)
    :ok = :convex_sidecar.settle(name, 10_000)
  end

  # What is told of the projections since the last call, but for changes of state.
  defp told do
    receive do
      {:telemetry, :state, _, _} -> told()
      {:telemetry, event, measurements, metadata} -> [{event, Map.keys(measurements), metadata} | told()]
    after
      0 -> []
    end
  end

  test "telemetry is the same in both forms, of every outcome, with the entity's id", c do
    [call, async] =
      for form <- [:call, :async] do
        id = "#{form}"
        bad = "#{form}\n1"
        MemoryLog.add(c.log, id, 2)
        MemoryLog.add(c.log, bad, 1)

        steps = [
          fn -> project(form, :run_summary, id, c.name) end,
          fn -> project(form, :run_summary, id, c.name) end,
          fn -> MemoryLog.update(c.log, id, %{status: "finished"}) && project(form, :run_summary, id, c.name) end,
          fn -> project(form, :run_summary, bad, c.name) end,
          fn -> project(form, :run_summary, "nobody", c.name) end
        ]

        for step <- steps do
          step.()
          # A row that changed is looked at once more, in both.
          :ok = :convex_sidecar.settle(c.name, 10_000)

          for {event, measured, metadata} <- Enum.uniq(told()),
              metadata.reason_class != "idempotent" or event != :write or step == Enum.at(steps, 1) do
            assert metadata.entity_id in [id, bad]
            assert metadata.document_id == "runtime/run_summary:" <> metadata.entity_id
            {event, Enum.sort(measured), Map.drop(metadata, [:entity_id, :document_id])}
          end
          |> Enum.sort()
        end
      end

    assert call == async

    assert [
             [{:write, _, %{result: "ok", reason_class: "none"}}],
             [{:write, _, %{result: "skipped", reason_class: "idempotent"}}],
             [{:drift, _, %{reason_class: "summary_hash_mismatch"}}, {:write, _, %{result: "ok"}}],
             [{:write, [:count, :duration_ms, :lag_events], %{result: "error", reason_class: "invalid"}}],
             []
           ] = call
  end

  test "a refusal carries the path and the real reason; by the asynchronous form in one line of the log", c do
    MemoryLog.add(c.log, "w", 1, %{metadata: %{"a" => [%{"$v" => 1}]}}, :codex_worker_summary)

    for {kind, id, path, why} <- [
          {:run_summary, "a\nb", "entity_id", "control"},
          {:run_summary, "a\tb", "entity_id", "control"},
          {:run_summary, String.duplicate("x", 301), "entity_id", "300"},
          {:codex_worker_summary, "w", ~s(metadata.a[0]["$v"]), "begins with $"}
        ] do
      if kind == :run_summary, do: MemoryLog.add(c.log, id, 1)
      assert {:error, {:invalid_summary, {:invalid, ^path, reason}}} = project(:call, kind, id, c.name)
      assert reason =~ why
      said = ExUnit.CaptureLog.capture_log(fn -> project(:async, kind, id, c.name) end)
      assert [line] = for(line <- String.split(said, "\n"), line =~ "conveyor.refused", do: line)
      assert line =~ String.replace(path, ~s("), ~S(\")) and line =~ why
    end

    assert {:ok, %{metrics: %{pending: 0}}} = :convex_sidecar.status(c.name)
  end

  test "the runtime's clauses hold in the form that the guide says", c do
    configure(:convex_projection_async, true)
    MemoryLog.add(c.log, "r", 1)

    append = fn id ->
      case Projector.project_run(id) do
        {:ok, _} -> :ok
        {:error, _} -> :ok
      end
    end

    for id <- ["r", "nobody", "a\nb"], do: assert(append.(id) == :ok)
    :ok = :convex_sidecar.settle(c.name, 10_000)
    assert {:ok, %{seq: 1}} = :convex_sidecar.checkpoint(c.name, "runtime/run_summary:r")
    configure(:convex_event_log, nil)
    assert append.("r") == :ok
  end
end
