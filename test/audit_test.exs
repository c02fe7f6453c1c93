defmodule AuditTest do
  @moduledoc """
  Documents edited, deleted, added and aged behind the sidecar's back: the audit names exactly
  those, repair fixes exactly those, and live writes never look like drift.
  """
  use SidecarCase, async: false

  alias OpenAgentsRuntime.Convex.{Audit, DiskEventLog, HttpSink, Projector, Reprojection, Summary}

  @moduletag timeout: 120_000
  @run "runtime/run_summary:"
  @worker "runtime/codex_worker_summary:"
  @t ~U[2026-02-19 20:00:00.123456Z]
  @findings ~w(missing stale ahead altered orphaned)a

  setup do
    standin = Standin.start()
    dir = tmp_dir()
    name = unique_name()

    options = [
      name: name,
      node: :"a#{unique()}_#{System.pid()}@127.0.0.1",
      store_dir: Path.join(dir, "store"),
      config: [sink: Standin.sink(standin), delivery: [min_interval_ms: 0]]
    ]

    start_instance(options)
    :ok = :convex_sidecar.await(name, 10_000)
    configure(:convex_event_log, DiskEventLog)
    configure(:convex_projection_sink, HttpSink)
    configure(:convex_sidecar, name: name)
    start_supervised!({DiskEventLog, dir: Path.join(dir, "log")})
    %{standin: standin, name: name, dir: dir}
  end

  defp row(i), do: %{thread_id: "t#{i}", status: "running", owner_user_id: i, updated_at: @t}

  defp worker(i) do
    %{
      status: "running",
      owner_user_id: i,
      adapter: "local",
      metadata: %{},
      started_at: @t,
      updated_at: @t
    }
  end

  # `n` runs and workers with three events each, all delivered.
  defp populate(c, n) do
    for i <- 1..n do
      :ok = DiskEventLog.create_run("r#{i}", row(i))
      :ok = DiskEventLog.create_worker("w#{i}", worker(i))
      for _ <- 1..3, do: {:ok, _} = DiskEventLog.append_event("r#{i}", "run.delta")
      for _ <- 1..2, do: {:ok, _} = DiskEventLog.append_worker_event("w#{i}", "worker.heartbeat")
      {:ok, _} = Projector.project_run("r#{i}")
      {:ok, _} = Projector.project_codex_worker("w#{i}")
    end

    assert {:ok, %{pending: 0}} = :convex_sidecar.flush(c.name, 20_000)
    Standin.documents(c.standin)
  end

  # Behind the sidecar's back: no guard, any column.
  defp tamper(c, id, patch) do
    kind = if String.starts_with?(id, @worker), do: "codex_worker_summary", else: "run_summary"

    body = ~s({"path":"diag:tamper","format":"json","args":{"kind":"#{kind}","document_id":"#{id}","patch":#{patch}}})

    url = String.to_charlist(c.standin.url <> "/api/mutation")
    headers = [{~c"authorization", String.to_charlist("Convex " <> c.standin.admin_key)}]
    {:ok, _} = Application.ensure_all_started(:inets)

    assert {:ok, {{_, 200, _}, _, answer}} =
             :httpc.request(:post, {url, headers, ~c"application/json", body}, [timeout: 30_000], body_format: :binary)

    assert answer =~ ~s("status":"success")
  end

  defp found(report),
    do: Map.new(report.findings, &{&1.document_id, String.to_atom(&1.finding)})

  defp counts(report), do: Map.take(report, [:checked | @findings])

  # Without what a rewrite may change.
  defp timeless(documents) do
    Map.new(documents, fn {id, json} ->
      {id, Regex.replace(~r/"projected_at":"[^"]*"/, json, "")}
    end)
  end

  @tampered %{
    (@run <> "r1") => {:altered, ~s({"summary":{"status":"hacked"}})},
    (@run <> "r2") => {:altered, ~s({"content_hash":"#{String.duplicate("ab", 32)}"})},
    (@run <> "r3") => {:altered, ~s({"owner":"user:666"})},
    (@run <> "r4") => {:missing, "null"},
    (@worker <> "w1") => {:missing, "null"},
    (@run <> "r10") => {:orphan, ~s({"seq":1,"content_hash":null})},
    (@run <> "zz") => {:orphaned, ~s({"seq":7,"summary":{"run_id":"zz"}})},
    (@run <> "0") => {:orphaned, ~s({"seq":7,"summary":{"run_id":"0"}})},
    (@worker <> "w2é") => {:orphaned, ~s({"seq":7,"summary":{}})}
  }

  describe "what was done behind the sidecar's back" do
    setup c do
      before = populate(c, 12)
      tampered = Map.delete(@tampered, @run <> "r10")
      for {id, {_finding, patch}} <- tampered, do: tamper(c, id, patch)
      # An older version put back, and a newer one that nobody here has confirmed.
      tamper(c, @run <> "r5", ~s({"seq":2,"summary":{"runtime_source":{"entity":"run","run_id":"r5","seq":2}}}))
      hash(c, @run <> "r5")
      tamper(c, @worker <> "w3", ~s({"seq":9,"summary":{"runtime_source":{"entity":"codex_worker","worker_id":"w3","seq":9}}}))
      hash(c, @worker <> "w3")

      expected =
        tampered
        |> Map.new(fn {id, {finding, _}} -> {id, finding} end)
        |> Map.merge(%{(@run <> "r5") => :stale, (@worker <> "w3") => :ahead})

      %{before: before, expected: expected}
    end

    # Make the hash of an edited row agree with it, as a writer of another version would.
    defp hash(c, id) do
      kind = if String.starts_with?(id, @worker), do: "codex_worker_summary", else: "run_summary"

      script = """
      import { readFileSync } from "node:fs"; import { ConvexHttpClient } from "convex/browser"; import { makeFunctionReference as ref } from "convex/server";
      const i = JSON.parse(readFileSync(process.env.STANDIN_STATE + "/ready.json")); const c = new ConvexHttpClient(i.url, { logger: false }); c.setAdminAuth(i.admin_key);
      const { digests: [d] } = await c.query(ref("runtime:listDigests"), { kind: "#{kind}", document_ids: ["#{id}"], verify: true });
      await c.mutation(ref("diag:tamper"), { kind: "#{kind}", document_id: "#{id}", patch: { content_hash: d.actual_hash } });
      """

      {out, status} =
        System.cmd("node", ["--input-type=module", "-e", script],
          cd: Path.expand("convex", __DIR__),
          env: [{"STANDIN_STATE", c.standin.state}],
          stderr_to_stdout: true
        )

      assert status == 0, out
    end

    test "the audit names exactly that, kind by kind and in all, and changes nothing", c do
      stands = Standin.documents(c.standin)
      assert {:ok, report} = Audit.audit(:all)
      assert found(report) == c.expected
      assert %{checked: 27, missing: 2, stale: 1, ahead: 1, altered: 3, orphaned: 3} = counts(report)
      assert %{stopped: nil, next: nil, unsettled: 0, repaired: 0, second_look: 10} = report
      r5 = @run <> "r5"
      assert %{seq: 3, convex_seq: 2, kind: "run_summary", repaired: false} = Enum.find(report.findings, &(&1.document_id == r5))
      assert %{seq: 3, convex_seq: nil} = Enum.find(report.findings, &(&1.document_id == @run <> "r4"))
      assert %{seq: nil, convex_seq: 7} = Enum.find(report.findings, &(&1.document_id == @run <> "zz"))

      assert {:ok, workers} = Audit.audit(:codex_worker_summary)
      assert found(workers) == Map.filter(c.expected, fn {id, _} -> String.starts_with?(id, @worker) end)
      assert {:ok, rest} = Audit.audit("run_summary", after: @run <> "r4")
      assert found(rest) == %{r5 => :stale, (@run <> "zz") => :orphaned}
      assert {:ok, later} = Audit.audit(:all, after: @worker <> "w1")
      assert found(later) == %{(@worker <> "w2é") => :orphaned, (@worker <> "w3") => :ahead}
      assert Standin.documents(c.standin) == stands
      assert {:ok, %{write: "skipped", reason: "idempotent"}} = Projector.project_run("r4")
    end

    test "repair puts exactly that right, and a second audit is clean", c do
      written = Standin.history(c.standin) |> length()
      assert {:ok, report} = Audit.audit(:all, repair: true)
      assert found(report) == c.expected
      assert %{repaired: 10, reprojected: 7, failed: []} = report
      assert {:ok, %{pending: 0}} = :convex_sidecar.flush(c.name, 20_000)
      stands = Standin.documents(c.standin)
      assert timeless(stands) == timeless(c.before)

      untouched = Map.keys(c.before) -- Map.keys(c.expected)
      assert Map.take(stands, untouched) == Map.take(c.before, untouched)
      assert length(Standin.history(c.standin)) == written + 10
      assert {:ok, clean} = Audit.audit(:all, repair: true)
      assert %{findings: [], repaired: 0, reprojected: 0, checked: 27} = clean
    end

    test "the sidecar alone doubts and clears; the next projection of each writes", c do
      assert {:ok, %{repaired: 10}} = :convex_sidecar.audit(c.name, :all, %{repair: true})
      assert {:ok, %{pending: 0}} = :convex_sidecar.flush(c.name, 20_000)
      refute Map.has_key?(Standin.documents(c.standin), @run <> "zz")
      assert {:ok, %{findings: left}} = Audit.audit(:all)
      assert length(left) == 7
      for id <- ~w(r1 r2 r3 r4 r5), do: assert({:ok, %{write: "queued"}} = Projector.project_run(id))
      for id <- ~w(w1 w3), do: assert({:ok, %{write: "queued"}} = Projector.project_codex_worker(id))
      assert {:ok, %{pending: 0}} = :convex_sidecar.flush(c.name, 20_000)
      assert {:ok, %{findings: []}} = Audit.audit(:all)
      assert timeless(Standin.documents(c.standin)) == timeless(c.before)
      assert {:ok, %{write: "skipped", reason: "idempotent"}} = Projector.project_run("r1")
    end

    test "the mix task prints the findings and repairs", c do
      Mix.shell(Mix.Shell.Process)
      on_exit(fn -> Mix.shell(Mix.Shell.IO) end)
      assert {:shutdown, 1} == catch_exit(Mix.Tasks.Runtime.Convex.Audit.run([]))
      line = "missing #{@run}r4 seq=3 convex_seq=-"
      assert_received {:mix_shell, :info, [^line]}
      assert_received {:mix_shell, :info, ["  altered: 3"]}
      assert :ok = Mix.Tasks.Runtime.Convex.Audit.run(["--repair"])
      assert_received {:mix_shell, :info, ["  reprojected: 7"]}
      assert {:ok, %{pending: 0}} = :convex_sidecar.flush(c.name, 20_000)
      assert timeless(Standin.documents(c.standin)) == timeless(c.before)
    end

    test "the command line prints the same, and its exit status says whether it was clean", c do
      store = Path.join(c.dir, "store")
      program = Path.expand("../priv/convex_sidecar", __DIR__)
      {out, 1} = System.cmd(program, ["audit", "--kind", "run_summary", "--store", store], stderr_to_stdout: true)
      assert out =~ ~r/altered +3\n/
      assert out =~ ~r/stale +run_summary +3 +2 +false +#{@run}r5\n/
      {json, 1} = System.cmd(program, ["audit", "--json", "--repair", "--yes", "--store", store])
      assert json =~ ~s("repaired":10)
      assert json =~ ~s("next":null)
      {out, 0} = System.cmd(program, ["audit", "status", "--store", store])
      assert out =~ ~r/state +idle/
    end
  end

  test "a document projected far ahead of any clock is named and left alone", c do
    populate(c, 1)
    tamper(c, @run <> "r1", ~s({"projected_at":"253402300799.000000000","summary":{"status":"x"}}))
    assert {:ok, report} = Audit.audit(:run_summary, repair: true)
    assert [%{finding: "altered", repaired: false}] = report.findings
    assert [%{reason: :beyond_repair}] = report.failed
    # An hour is what a clock may be wrong.
    at = System.os_time(:second) + 3600
    tamper(c, @run <> "r1", ~s({"projected_at":"#{String.pad_leading("#{at}", 12, "0")}.000000000"}))
    assert {:ok, %{repaired: 1, reprojected: 1}} = Audit.audit(:run_summary, repair: true)
    assert {:ok, %{pending: 0}} = :convex_sidecar.flush(c.name, 20_000)
    assert {:ok, %{findings: []}} = Audit.audit(:run_summary)
  end

  test "a store that was lost: every document is an orphan, and repair brings each back", c do
    before = populate(c, 5)
    stop_supervised!(c.name)
    File.rm_rf!(Path.join(c.dir, "store"))

    start_instance(
      name: c.name,
      node: :"a#{unique()}_#{System.pid()}@127.0.0.1",
      store_dir: Path.join(c.dir, "store"),
      config: [sink: Standin.sink(c.standin)]
    )

    :ok = :convex_sidecar.await(c.name, 10_000)
    assert {:ok, %{orphaned: 10, reprojected: 10, failed: []}} = Audit.audit(:all, repair: true)
    assert {:ok, %{pending: 0}} = :convex_sidecar.flush(c.name, 20_000)
    assert timeless(Standin.documents(c.standin)) == timeless(before)
    assert {:ok, %{findings: [], checked: 10}} = Audit.audit(:all)
  end

  # The sidecar lists at most 1,000 findings a turn; a repair of more goes round.
  test "more findings than one list holds: all are named, repaired and written again", c do
    {_, {table, _}} = MemoryLog.new()
    configure(:convex_event_log, MemoryLog)
    # Of as many digits each: in the order of the audit.
    ids = for n <- 1001..2300, do: "many#{n}"

    for id <- ids do
      :ets.insert(table, {{:run_summary, id}, Map.merge(row(1), %{run_id: id, latest_seq: 1})})
      event = %{seq: 1, event_type: "run.started", inserted_at: @t}
      :ets.insert(table, {{:event, :run_summary, id, 1}, event})
    end

    {:ok, %{failed_entities: 0}} = Reprojection.rebuild_all(max_concurrency: 32)
    assert {:ok, %{pending: 0}} = :convex_sidecar.flush(c.name, 20_000)
    before = Standin.documents(c.standin)
    assert map_size(before) == 1300

    # Some stay between them, and behind the last.
    {left, deleted} = Enum.split_with(ids, &(&1 > "many2290" or rem(:erlang.phash2(&1), 14) == 0))
    assert length(deleted) > 1100
    deleted |> Task.async_stream(&tamper(c, @run <> &1, "null"), max_concurrency: 8) |> Stream.run()
    wanted = Map.new(deleted, &{@run <> &1, :missing})
    found = length(deleted)

    # One audit without repair counts them all, and names the first thousand of them.
    assert {:ok, %{missing: ^found, checked: 1300, stopped: nil} = named} = Audit.audit(:all)
    assert named |> found() |> Map.keys() |> Enum.sort() == wanted |> Map.keys() |> Enum.sort() |> Enum.take(1000)

    written = Standin.history(c.standin) |> length()
    assert {:ok, report} = Audit.audit(:all, repair: true)
    assert %{missing: ^found, repaired: ^found, reprojected: ^found, failed: []} = report
    assert %{checked: 1300, stopped: nil, next: nil} = report
    assert length(report.findings) == found
    assert found(report) == wanted

    assert {:ok, %{pending: 0}} = :convex_sidecar.flush(c.name, 20_000)
    stands = Standin.documents(c.standin)
    assert timeless(stands) == timeless(before)
    untouched = Enum.map(left, &(@run <> &1))
    assert Map.take(stands, untouched) == Map.take(before, untouched)
    assert length(Standin.history(c.standin)) == written + found
    assert {:ok, %{findings: [], checked: 1300}} = Audit.audit(:all)
  end

  test "live writes make no finding, however they fall", c do
    populate(c, 20)
    test = self()

    writers =
      for w <- 1..3 do
        spawn_link(fn -> write_on(c, w, 4, test) end)
      end

    reports = for _ <- 1..5, do: Audit.audit(:all)
    for w <- writers, do: send(w, :stop)

    written =
      for w <- writers,
          do:
            (receive do
               {:written, ^w, n} -> n
             end)

    assert Enum.all?(written, &(&1 > 0))

    for report <- reports do
      assert {:ok, %{findings: [], stopped: nil, checked: n}} = report
      assert n >= 40
    end

    assert {:ok, %{pending: 0}} = :convex_sidecar.flush(c.name, 20_000)
    assert {:ok, %{findings: [], unsettled: 0}} = Audit.audit(:all)
  end

  # New runs, newer versions, clears: whatever a runtime does.
  defp write_on(c, w, n, test) do
    receive do
      :stop -> send(test, {:written, self(), n - 4})
    after
      0 ->
        seq = fn id -> Process.put(id, Process.get(id, 0) + 1) || 0 end
        id = "l#{w}_#{rem(n, 7)}"
        at = seq.(id) + 1
        event = %{seq: at, event_type: "run.delta", inserted_at: @t}
        {:ok, _} = :convex_sidecar.project(c.name, :run_summary, id, row(w), [event], %{})

        if rem(n, 11) == 0 do
          {:ok, _} = :convex_sidecar.clear(c.name, @run <> id)
          Process.delete(id)
        end

        write_on(c, w, n + 1, test)
    end
  end

  test "one audit at a time; status, cancel, and where to go on", c do
    populate(c, 3)
    Standin.faults(c.standin, ~s({"kind":"too_many_concurrent","times":0,"match":{"path":"runtime:listDigests"}}))
    task = Task.async(fn -> Audit.audit(:all) end)
    wait_until(fn -> match?({:ok, %{state: "running", kind: "run_summary", checked: 0, eta_s: nil}}, Audit.status()) end)
    assert {:error, :audit_running} = Audit.audit(:all)
    assert {:ok, :cancelled} = Audit.cancel()
    assert {:ok, %{stopped: "cancelled", next: "", findings: []}} = Task.await(task)
    assert {:ok, :idle} = Audit.cancel()
    assert {:ok, %{state: "idle"}} = Audit.status()
    Standin.clear_faults(c.standin)

    # Passing faults are waited out.
    Standin.faults(c.standin, ~s({"kind":"too_many_concurrent","times":3,"match":{"path":"runtime:listDigests"}}))
    assert {:ok, %{findings: [], checked: 6}} = Audit.audit(:all)
    {:ok, %{metrics: metrics}} = :convex_sidecar.status(c.name)
    assert %{audit_checked: 6, audit_findings: 0} = metrics
    tamper(c, @run <> "r1", ~s({"summary":{"status":"x"}}))
    assert {:ok, %{findings: [_], checked: 6}} = Audit.audit(:all)
    assert {:ok, %{metrics: %{audit_checked: 6, audit_findings: 1}}} = :convex_sidecar.status(c.name)
  end

  test "Ctrl-C ends an audit of the command line; its report says where to go on", c do
    populate(c, 3)
    Standin.faults(c.standin, ~s({"kind":"too_many_concurrent","times":0,"match":{"path":"runtime:listDigests"}}))
    program = Path.expand("../priv/convex_sidecar", __DIR__)
    args = ["audit", "--kind", "run_summary", "--after", @run <> "r1", "--store", Path.join(c.dir, "store")]

    for signal <- ~w(INT TERM) do
      port = Port.open({:spawn_executable, program}, [:binary, :exit_status, :stderr_to_stdout, args: args])
      {:os_pid, pid} = Port.info(port, :os_pid)
      wait_until(fn -> match?({:ok, %{state: "running"}}, Audit.status()) end)
      {_, 0} = System.cmd("kill", ["-#{signal}", "#{pid}"])
      assert {4, out} = ended(port, "")
      assert out =~ ~r/^stopped +cancelled$/m
      assert out =~ ~r/^next +#{@run}r1$/m
      assert {:ok, %{state: "idle"}} = Audit.status()
    end

    Standin.clear_faults(c.standin)
    assert {out, 0} = System.cmd(program, args, stderr_to_stdout: true)
    assert out =~ ~r/^checked +2$/m
  end

  # Its exit status, and all it printed.
  defp ended(port, out) do
    receive do
      {^port, {:data, more}} -> ended(port, out <> more)
      {^port, {:exit_status, status}} -> {status, out}
    after
      10_000 -> flunk("it does not end; it said: #{out}")
    end
  end

  test "what cannot be: options, kinds, an invalid key, functions that are not there", c do
    assert {:error, {:unknown_kind, "nope"}} = Audit.audit(:nope)
    assert {:error, {:invalid, "opts.x", _}} = :convex_sidecar.audit(c.name, :all, %{x: 1})
    assert {:error, {:invalid, "opts.repair", _}} = :convex_sidecar.audit(c.name, :all, repair: 1)
    assert {:error, {:invalid, "opts.after", _}} = Audit.audit(:all, after: "elsewhere:1")
    assert {:error, {:invalid, "opts.after", _}} = Audit.audit(:run_summary, after: @worker <> "w")
    Standin.faults(c.standin, ~s({"kind":"bad_admin_key","times":0}))
    assert {:error, {:sink_read_failed, why}} = Audit.audit(:all)
    assert why =~ "BadAdminKey"
  end

  test "a sink that cannot be read back says so", c do
    name = unique_name()
    start_instance(name: name, node: :"n#{unique()}_#{System.pid()}@127.0.0.1", store_dir: Path.join(c.dir, "noop"))
    :ok = :convex_sidecar.await(name, 10_000)
    assert {:error, {:invalid, "", "the sink cannot be read back"}} = :convex_sidecar.audit(name, :all)
    assert {:ok, %{state: "idle"}} = :convex_sidecar.audit_status(name)
    assert Summary.document_id(:run_summary, "x") == @run <> "x"
  end
end
