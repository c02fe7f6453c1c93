defmodule DeliveryTest do
  @moduledoc """
  The main job: documents in Convex, read back by Convex's own client, whatever happens on the way.
  """
  use SidecarCase, async: false

  alias OpenAgentsRuntime.Convex.{CanonicalJson, DiskEventLog, HttpSink, Projector, Sidecar, Summary}

  @moduletag timeout: 120_000
  @run "runtime/run_summary:"
  @t ~U[2026-02-19 20:00:00.123456Z]

  setup context do
    standin = Standin.start()
    dir = tmp_dir()
    name = unique_name()
    node = :"d#{unique()}_#{System.pid()}@127.0.0.1"
    config = [sink: Standin.sink(standin, Map.get(context, :sink, [])), delivery: Map.get(context, :delivery, [])]
    start_instance(name: name, node: node, store_dir: Path.join(dir, "store"), config: config, backoff_min_ms: 20)
    :ok = :convex_sidecar.await(name, 10_000)
    %{standin: standin, dir: dir, name: name, server: {:convex_sidecar, node}}
  end

  defp event(seq, type \\ "run.delta"), do: %{seq: seq, event_type: type, inserted_at: @t}
  defp project(c, id, row, events, opts \\ %{}), do: :convex_sidecar.project(c.name, :run_summary, id, row, events, opts)
  defp flush(c), do: :convex_sidecar.flush(c.name, 20_000)
  defp state(c), do: with({:ok, s} <- :convex_sidecar.status(c.name), do: s.state)

  defp expected(kind, id_key, id, row, count, latest) do
    doc = Summary.summary(kind, Map.put(row, id_key, id), %{count: count, latest: latest}, projection_version: "convex_summary_v1", now: @t)
    CanonicalJson.encode(Map.put(doc, "projection_hash", CanonicalJson.hash(doc)))
  end

  defp worker_row do
    %{
      status: "running",
      owner_user_id: 9_007_199_254_740_993,
      owner_guest_scope: nil,
      workspace_ref: "ws/ü/€/😂",
      codex_home_ref: nil,
      adapter: :local,
      metadata: %{
        "floats" => [0.0, -1.5, 1.0e21, 5.0e-324, 1.7976931348623157e308],
        "integers" => [0, -1, 9_007_199_254_740_992, 9_223_372_036_854_775_807, -9_223_372_036_854_775_808],
        "deep" => %{"a" => [%{"b" => [true, false, nil, %{}]}]},
        "text" => "tab\t quote\" slash\\ line\n unit\u0001 é€😂",
        :atom_key => :an_atom,
        "dates" => [~D[2026-02-19], ~T[20:00:00.5], ~N[2026-02-19 20:00:00], @t],
        "many" => Map.new(1..40, &{"key #{&1}", &1})
      },
      started_at: @t,
      stopped_at: nil,
      last_heartbeat_at: ~N[2026-02-19 20:00:00.000001],
      updated_at: @t
    }
  end

  defp run_row,
    do: %{
      thread_id: "t",
      status: "failed",
      owner_user_id: 42,
      terminal_reason_class: "error",
      terminal_reason: "naïve",
      terminal_at: @t,
      updated_at: @t
    }

  defp both_kinds_arrive(c) do
    assert {:ok, _} = project(c, "r1", run_row(), Enum.map(1..3, &event/1), %{now: @t})
    assert {:ok, _} = :convex_sidecar.project(c.name, :codex_worker_summary, "w1", worker_row(), [event(1, "worker.started")], %{now: @t})
    assert {:ok, %{pending: 0}} = flush(c)

    assert Standin.documents(c.standin) == %{
             (@run <> "r1") => expected(:run_summary, :run_id, "r1", run_row(), 3, event(3)),
             "runtime/codex_worker_summary:w1" =>
               expected(:codex_worker_summary, :worker_id, "w1", worker_row(), 1, event(1, "worker.started"))
           }

    # and they are of the types that clients are told (priv/convex/kinds.ts)
    assert Standin.misfits(c.standin) == "[]"
  end

  test("both kinds stand in Convex field for field (batches)", c, do: both_kinds_arrive(c))

  @tag sink: [batch_mutation: ""]
  test("both kinds stand in Convex field for field (one document a call)", c, do: both_kinds_arrive(c))

  test "kill -9 between kept and delivery: every kept document arrives", c do
    {:ok, :paused} = :convex_sidecar.pause(c.name)

    {:ok, replies} =
      :convex_sidecar.batch(c.name, for(i <- 1..500, do: {:project, :run_summary, "k#{i}", run_row(), [event(1)], %{now: @t}}))

    assert Enum.all?(replies, &match?({:ok, %{write: "queued"}}, &1))
    {:ok, %{pid: pid}} = :convex_sidecar.status(c.name)
    assert Standin.documents(c.standin) == %{}
    {_, 0} = System.cmd("kill", ["-9", "#{pid}"])
    wait_until(fn -> match?({:ok, %{pid: new}} when new != pid, :convex_sidecar.status(c.name)) end, 10_000)
    assert {:ok, %{pending: 0}} = flush(c)
    documents = Standin.documents(c.standin)
    assert map_size(documents) == 500
    for i <- 1..500, do: assert(documents[@run <> "k#{i}"] == expected(:run_summary, :run_id, "k#{i}", run_row(), 1, event(1)))
  end

  test "Convex away for a while: kept meanwhile, delivered on return, in order", c do
    Standin.stop(c.standin)
    for seq <- 1..20, i <- 1..5, do: {:ok, _} = project(c, "o#{i}", run_row(), [event(seq)])
    wait_until(fn -> state(c) == "waiting" end, 10_000)
    standin = Standin.start_again(c.standin)
    assert {:ok, %{pending: 0}} = flush(c)
    assert map_size(Standin.documents(standin)) == 5
    for i <- 1..5, do: assert({:ok, %{state: "delivered", delivered_seq: 20}} = :convex_sidecar.checkpoint(c.name, @run <> "o#{i}"))
  end

  @tag delivery: [min_interval_ms: 0, backoff_min_ms: 5, backoff_max_ms: 50]
  test "faults of every kind: nothing lost, nothing goes back", c do
    for kind <-
          ~w(occ committer_full too_many_concurrent internal internal_after timeout408 html502 reset_before close_before reset_after close_after truncate garbage chunked connection_close) do
      Standin.faults(c.standin, ~s({"kind":"#{kind}","times":2}))
    end

    for seq <- 1..30, i <- 1..10, do: {:ok, _} = project(c, "f#{i}", run_row(), [event(seq)])
    assert {:ok, %{pending: 0}} = flush(c)
    assert Standin.stat(c.standin, "reset_after") > 0
    for i <- 1..10, do: assert({:ok, %{delivered_seq: 30}} = :convex_sidecar.checkpoint(c.name, @run <> "f#{i}"))

    for {_id, versions} <- Enum.group_by(Standin.history(c.standin), &elem(&1, 0)) do
      order = Enum.map(versions, fn {_, seq, at, _} -> {seq, at} end)
      assert order == Enum.sort(order)
      assert {30, _} = List.last(order)
    end
  end

  test "a document Convex refuses becomes a dead letter, the others of its batch arrive", c do
    Standin.faults(c.standin, ~s({"kind":"function_error","message":"no such luck","times":0,"match":{"document_id":"#{@run}bad"}}))
    {:ok, _} = :convex_sidecar.batch(c.name, for(id <- ~w(a b bad c d), do: {:project, :run_summary, id, run_row(), [event(1)], %{}}))
    assert {:ok, %{pending: 0}} = flush(c)
    assert Enum.sort(Map.keys(Standin.documents(c.standin))) == Enum.map(~w(a b c d), &(@run <> &1))
    assert {:ok, [%{document_id: @run <> "bad", kind: "run_summary", seq: 1, why: why, attempts: n}]} = :convex_sidecar.dead_list(c.name)
    assert why =~ "no such luck" and n >= 1
    assert {:ok, %{state: "dead"}} = :convex_sidecar.checkpoint(c.name, @run <> "bad")
    assert {:ok, %{answer: answer, summary: %{"run_id" => "bad"}}} = :convex_sidecar.dead_show(c.name, @run <> "bad")
    assert answer =~ "no such luck"
    assert {:error, {:sink_write_failed, _}} = project(c, "bad", run_row(), [event(2)], %{ack: :written})

    Standin.clear_faults(c.standin)
    assert {:ok, %{retried: 1}} = :convex_sidecar.dead_retry(c.name, :all)
    assert {:ok, %{pending: 0}} = flush(c)
    assert {:ok, []} = :convex_sidecar.dead_list(c.name)
    assert {:ok, %{state: "delivered", delivered_seq: 2}} = :convex_sidecar.checkpoint(c.name, @run <> "bad")
  end

  test "a dead letter heals by itself once its kind is well again; until then the same projection starts nothing", c do
    refuse = ~s({"kind":"refuse_item","match":{"document_id":"#{@run}bad"}})
    Standin.faults(c.standin, refuse)
    for id <- ~w(good bad), do: {:ok, _} = project(c, id, run_row(), [event(1)])
    assert {:ok, %{pending: 0}} = flush(c)
    assert {:ok, [%{attempts: n, tries: 0, died_at: died_at, next_try: next_try}]} = :convex_sidecar.dead_list(c.name)
    assert n >= 1 and next_try > died_at

    for _ <- 1..3 do
      assert {:ok, %{write: "skipped", reason: "dead", lag_events: 0}} = project(c, "bad", run_row(), [event(1)])
    end

    assert {:ok, %{metrics: %{pending: 0, drift_total: 0}}} = :convex_sidecar.status(c.name)
    Standin.clear_faults(c.standin)
    Standin.faults(c.standin, ~s({"kind":"paused","times":0}))
    {:ok, _} = project(c, "good", run_row(), [event(2)])

    wait_until(fn ->
      match?({:ok, %{kinds: [%{kind: "run_summary", state: "stopped", next: "deploy" <> _}]}}, :convex_sidecar.status(c.name))
    end)

    Standin.clear_faults(c.standin)
    {:ok, :running} = :convex_sidecar.resume(c.name)
    wait_until(fn -> :convex_sidecar.dead_list(c.name) == {:ok, []} end, 15_000)
    assert Map.has_key?(Standin.documents(c.standin), @run <> "bad")
    assert {:ok, %{state: "delivered", delivered_seq: 1}} = :convex_sidecar.checkpoint(c.name, @run <> "bad")
    assert {:ok, %{write: "skipped", reason: "idempotent"}} = project(c, "bad", run_row(), [event(1)])
  end

  defp batch_of(c, ids, row, events),
    do: {:ok, _} = :convex_sidecar.batch(c.name, for(id <- ids, do: {:project, :run_summary, id, row, events, %{}}))

  test "many documents Convex refuses in the answers that accept the rest do not stop delivery", c do
    Standin.faults(c.standin, ~s({"kind":"refuse_item","match":{"document_id":"#{@run}bad*"}}))
    {:ok, :paused} = :convex_sidecar.pause(c.name)

    for ids <- [for(i <- 1..100, do: "a#{i}"), for(i <- 1..150, do: "bad#{i}"), for(i <- 1..100, do: "z#{i}")],
        do: batch_of(c, ids, run_row(), [event(1)])

    {:ok, _} = :convex_sidecar.resume(c.name)
    assert {:ok, %{pending: 0}} = flush(c)
    documents = Map.keys(Standin.documents(c.standin))
    assert length(documents) == 200
    refute Enum.any?(documents, &(&1 =~ "bad"))
    assert {:ok, dead} = :convex_sidecar.dead_list(c.name)
    assert length(dead) == 150 and Enum.all?(dead, &(&1.why =~ "this document is refused"))
    assert {:ok, %{answer: answer}} = :convex_sidecar.dead_show(c.name, @run <> "bad1")
    assert answer =~ "rejected"
    assert state(c) == "running"
  end

  @tag delivery: [min_interval_ms: 0]
  test "what is too much for one transaction goes in smaller calls, and no document dies of it", c do
    Standin.config(c.standin, ~s({"MAX_BYTES_WRITTEN_PER_SECOND":1000000000}))
    large = Map.put(run_row(), :terminal_reason, String.duplicate("x", 450_000))

    together = fn work ->
      {:ok, :paused} = :convex_sidecar.pause(c.name)
      work.()
      {:ok, _} = :convex_sidecar.resume(c.name)
      assert {:ok, %{pending: 0}} = flush(c)
      assert {:ok, []} = :convex_sidecar.dead_list(c.name)
    end

    put = fn row, seq -> for i <- 1..24, do: {:ok, _} = project(c, "l#{i}", row, [event(seq)]) end
    together.(fn -> put.(large, 1) end)
    together.(fn -> put.(run_row(), 2) end)
    documents = Standin.documents(c.standin)
    assert map_size(documents) == 24
    assert Enum.all?(documents, fn {_id, json} -> json =~ ~s("latest_seq":2) and byte_size(json) < 2_000 end)
    together.(fn -> put.(large, 3) end)
    together.(fn -> assert {:ok, %{cleared: 24}} = :convex_sidecar.clear(c.name, :all) end)
    assert Standin.documents(c.standin) == %{}
  end

  @tag delivery: [probe_ms: 100]
  test "a bad key stops delivery, discards nothing, and goes on when it is good again", c do
    Standin.faults(c.standin, ~s({"kind":"bad_admin_key","times":3}))
    {:ok, _} = project(c, "k", run_row(), [event(1)])
    wait_until(fn -> state(c) == "stopped" end)
    {:ok, %{why: why}} = :convex_sidecar.status(c.name)
    assert why =~ "BadAdminKey"
    assert {:ok, %{pending: 0}} = flush(c)
    assert {:ok, []} = :convex_sidecar.dead_list(c.name)
    assert map_size(Standin.documents(c.standin)) == 1
  end

  test "many changes of one document become few writes, the last one stands", c do
    for seq <- 1..500, do: {:ok, _} = project(c, "hot", run_row(), [event(seq)])
    assert {:ok, %{pending: 0}} = flush(c)
    assert {:ok, %{delivered_seq: 500}} = :convex_sidecar.checkpoint(c.name, @run <> "hot")
    {:ok, %{metrics: m}} = :convex_sidecar.status(c.name)
    assert m.kept_total == 500
    assert Standin.stat(c.standin, "documentsWritten") == m.delivered_total
    assert m.delivered_total < 250
  end

  test "cleared documents are gone from Convex and can come back from a lower seq", c do
    {:ok, _} = project(c, "cl", run_row(), Enum.map(1..5, &event/1), %{ack: :written})
    assert {:ok, %{cleared: 1}} = :convex_sidecar.clear(c.name, @run <> "cl")
    {:ok, _} = flush(c)
    assert Standin.documents(c.standin) == %{}
    {:ok, _} = project(c, "cl", run_row(), [event(1)], %{ack: :written})
    assert %{(@run <> "cl") => json} = Standin.documents(c.standin)
    assert json =~ ~s("latest_seq":1)
    {:ok, _} = :convex_sidecar.clear(c.name, @run <> "cl")
    {:ok, _} = project(c, "cl", run_row(), [event(1)], %{ack: :written, now: @t})
    assert map_size(Standin.documents(c.standin)) == 1
  end

  test "reset goes below what stands in Convex", c do
    {:ok, _} = project(c, "re", run_row(), Enum.map(1..9, &event/1), %{ack: :written})
    {:ok, %{write: "applied"}} = project(c, "re", run_row(), Enum.map(1..4, &event/1), %{ack: :written, reset: true})
    assert Standin.documents(c.standin)[@run <> "re"] =~ ~s("latest_seq":4)
  end

  describe "the Elixir face" do
    setup c do
      configure(:convex_event_log, DiskEventLog)
      configure(:convex_projection_sink, HttpSink)
      configure(:convex_sidecar, name: c.name)
      start_supervised!({DiskEventLog, dir: Path.join(c.dir, "log")})
      watch_telemetry()
      :ok
    end

    test "the projector sends what is new, with the runtime's results and telemetry", c do
      :ok = DiskEventLog.create_run("e1", run_row())
      for _ <- 1..3, do: {:ok, _} = DiskEventLog.append_event("e1", "run.delta")

      assert {:ok, %{document_id: @run <> "e1", write: "queued", reason: nil, summary: %{"latest_seq" => 3, "event_count" => 3}}} =
               Projector.project_run("e1")

      assert_receive {:telemetry, :write, %{count: 1, lag_events: 3, duration_ms: _},
                      %{projection: "run_summary", result: "ok", document_id: @run <> "e1"}}

      assert {:ok, %{write: "skipped", reason: "idempotent"}} = Projector.project_run("e1")
      assert_receive {:telemetry, :write, _, %{result: "skipped", reason_class: "idempotent"}}
      {:ok, 4} = DiskEventLog.append_event("e1", "run.finished")
      :ok = Projector.project_run_async("e1")
      :ok = :convex_sidecar.settle(c.name, 10_000)
      {:ok, _} = flush(c)
      assert Standin.documents(c.standin)[@run <> "e1"] =~ ~s("latest_event_type":"run.finished","latest_seq":4)
      assert {:error, :run_not_found} = Projector.project_run("absent")
      assert {:error, :worker_not_found} = Projector.project_codex_worker("absent")
    end

    test "a store that was lost is filled from the log, even for a row without a new event", c do
      :ok = DiskEventLog.create_run("lost", run_row())
      for _ <- 1..3, do: {:ok, _} = DiskEventLog.append_event("lost", "run.delta")
      assert {:ok, %{summary: %{"event_count" => 3}}} = Projector.project_run("lost")
      {:ok, _} = flush(c)
      {:ok, _} = :convex_sidecar.clear(c.name, @run <> "lost")
      :ok = DiskEventLog.update_row(:run_summary, "lost", %{status: "stopping"})
      assert {:ok, %{summary: %{"event_count" => 3, "latest_seq" => 3, "status" => "stopping"}}} = Projector.project_run("lost")
      :ok = DiskEventLog.update_row(:run_summary, "lost", %{status: "stopped"})
      {:ok, _} = :convex_sidecar.clear(c.name, @run <> "lost")
      :ok = Projector.project_run_async("lost")
      :ok = :convex_sidecar.settle(c.name, 10_000)
      {:ok, _} = flush(c)
      assert Standin.documents(c.standin)[@run <> "lost"] =~ ~s("event_count":3)
    end

    test "HttpSink writes off the VM", c do
      doc =
        Summary.summary(:run_summary, Map.put(run_row(), :run_id, "h"), %{count: 1, latest: event(1)}, projection_version: "v1", now: @t)

      assert :ok = HttpSink.upsert_run_summary(@run <> "h", doc, [])
      {:ok, _} = flush(c)
      assert Standin.documents(c.standin)[@run <> "h"] == CanonicalJson.encode(Map.put(doc, "projection_hash", CanonicalJson.hash(doc)))
    end

    test "restart/1 drains, replaces the program and comes back", c do
      {:ok, %{pid: before}} = :convex_sidecar.status(c.name)
      assert {:ok, %{gap_ms: gap}} = Sidecar.restart()
      assert is_integer(gap)
      assert {:ok, %{pid: later}} = Sidecar.status()
      assert later != before
    end
  end

  describe "the command line" do
    defp cli(c, args) do
      program = Application.app_dir(:convex_sidecar, "priv/convex_sidecar")
      System.cmd(program, args ++ ["--store", Path.join(c.dir, "store")], stderr_to_stdout: true)
    end

    test "status, pause, resume, flush, drain, reload, checkpoint, clear, dead", c do
      assert {out, 0} = cli(c, ["status"])
      assert out =~ ~r/^state +running$/m
      assert {json, 0} = cli(c, ["status", "--json"])
      assert json =~ ~s("state":"running")
      assert {_, 0} = cli(c, ["pause"])
      assert state(c) == "paused"
      {:ok, _} = project(c, "cli", run_row(), [event(1)])
      assert {out, 0} = cli(c, ["checkpoint", @run <> "cli"])
      assert out =~ ~r/^state +pending$/m
      assert {_, 1} = cli(c, ["flush", "50"])
      assert {_, 0} = cli(c, ["resume"])
      assert {_, 0} = cli(c, ["flush", "5000"])
      assert {_, 0} = cli(c, ["drain", "5000"])
      assert {_, 0} = cli(c, ["resume"])
      assert {_, 0} = cli(c, ["reload"])
      # No terminal here: what loses many is not done without --yes.
      assert {"would_clear  1\n", 0} = cli(c, ["clear", "--all", "--dry-run"])

      for words <- [["clear", "--all"], ["clear", "--kind", "run_summary"], ["dead", "drop", "x"], ["audit", "--repair"]] do
        assert {out, 2} = cli(c, words)
        assert out =~ "nothing was done" and out =~ "--yes"
      end

      assert {"would_clear  1\n", 0} = cli(c, ["clear", "--all", "--dry-run"])
      assert {_, 0} = cli(c, ["clear", @run <> "cli"])
      assert {_, 0} = cli(c, ["dead", "list"])
      assert {out, 1} = cli(c, ["dead", "show", "nothing"])
      assert out =~ "not_found" or out =~ "not found"
      assert {_, 2} = cli(c, ["dead", "what"])
      assert {_, 2} = cli(c, ["nonsense"])
    end

    test "without a sidecar it says so", c do
      elsewhere = Path.join(c.dir, "elsewhere")
      program = Application.app_dir(:convex_sidecar, "priv/convex_sidecar")
      assert {out, 3} = System.cmd(program, ["status", "--store", elsewhere], stderr_to_stdout: true)
      assert out =~ elsewhere and out =~ "there is no such store; next: give that of a sidecar on this machine"
    end

    test "the socket is its user's alone, and calls leave nothing in the log", c do
      store = Path.join(c.dir, "store")
      assert {:ok, %{type: :other, mode: mode}} = File.stat(Path.join(store, "control.sock"))
      assert Bitwise.band(mode, 0o777) == 0o600
      refute File.exists?(Path.join(store, "control"))
      {:ok, %{metrics: before}} = :convex_sidecar.status(c.name)
      wait_until(fn -> match?({:ok, %{functions: 2}}, :convex_sidecar.status(c.name)) end)
      watch_log()
      for _ <- 1..3, do: assert({_, 0} = cli(c, ["status"]))
      assert {_, 0} = cli(c, ["pause"])
      assert_receive {:log, _, _, first}, 5_000
      assert first =~ "dispatch.paused"
      {:ok, %{metrics: later}} = :convex_sidecar.status(c.name)
      assert later.peers == before.peers
    end

    test "another user is told that it is not permitted", c do
      if System.cmd("id", ["-u"]) == {"0\n", 0} do
        program = Application.app_dir(:convex_sidecar, "priv/convex_sidecar")
        copy = Path.join(System.tmp_dir!(), "convex_sidecar_#{System.unique_integer([:positive])}")
        on_exit(fn -> File.rm(copy) end)
        File.cp!(program, copy)
        File.chmod!(copy, 0o755)
        args = ["--reuid=65534", "--regid=65534", "--clear-groups", copy, "status", "--store", Path.join(c.dir, "store")]
        assert {out, 3} = System.cmd("setpriv", args, stderr_to_stdout: true)
        assert out =~ "not permitted; next: run this as the sidecar's user or as root"
      end
    end

    test "each word has a help text" do
      program = Application.app_dir(:convex_sidecar, "priv/convex_sidecar")

      for word <- ~w(run check-config version status flush pause resume drain reload checkpoint clear dead rebuild) do
        assert {out, 0} = System.cmd(program, [word, "--help"], stderr_to_stdout: true)
        assert out =~ word
      end
    end
  end
end
