defmodule RebuildTest do
  @moduledoc """
  The same history, the same documents, whichever way it comes; and rebuilds that are interrupted, run
  beside live writes, or find something else in Convex than they left there.
  """
  use SidecarCase, async: false

  alias OpenAgentsRuntime.Convex.{
    CanonicalJson,
    DiskEventLog,
    Export,
    Projector,
    Reprojection,
    Summary
  }

  @moduletag timeout: 180_000
  @t ~U[2026-02-19 20:00:00.123456Z]
  @version "convex_summary_v1"

  setup context do
    standin = Standin.start()
    dir = tmp_dir()
    name = unique_name()
    node = :"r#{unique()}_#{System.pid()}@127.0.0.1"

    config = [
      sink: Standin.sink(standin),
      delivery: Map.get(context, :delivery, min_interval_ms: 0)
    ]

    start_instance(
      name: name,
      node: node,
      store_dir: Path.join(dir, "store"),
      config: config,
      backoff_min_ms: 20
    )

    :ok = :convex_sidecar.await(name, 10_000)
    configure(:convex_sidecar, name: name)
    %{standin: standin, dir: dir, name: name}
  end

  # ---- histories

  defp at(seconds), do: DateTime.add(@t, seconds)

  defp event(seq),
    do: %{
      seq: seq,
      event_type: Enum.at(~w(run.started run.delta tool.call), rem(seq, 3)),
      inserted_at: at(seq)
    }

  defp run_row(id, seq),
    do: %{
      run_id: id,
      thread_id: "t-#{id}",
      status: "running",
      owner_user_id: 42,
      terminal_reason: "naïve 😂",
      latest_seq: seq,
      updated_at: at(seq)
    }

  defp worker_row(id, seq) do
    metadata = %{
      "floats" => [
        0.5,
        1.0e20,
        1_152_921_504_606_846_976.0,
        -9_007_199_254_740_994.0,
        1.0e21,
        5.0e-324
      ],
      "integers" => [9_007_199_254_740_992, 9_007_199_254_740_993, -9_223_372_036_854_775_808],
      "dates" => [~D[2026-02-19], ~T[20:00:00.5], ~N[2026-02-19 20:00:00], @t],
      "many" => Map.new(1..40, &{"key #{&1}", %{atom: :value, nothing: nil, n: &1}})
    }

    %{
      worker_id: id,
      status: :running,
      workspace_ref: "ws/ü",
      adapter: :local,
      metadata: metadata,
      latest_seq: seq,
      started_at: @t,
      last_heartbeat_at: ~N[2026-02-19 20:00:00.000001],
      updated_at: at(seq)
    }
  end

  # `[{kind, id, number of events}]`; one is longer than two pages of an export.
  @entities for(n <- 0..11, do: {:run_summary, "run #{n}", n}) ++
              for(n <- 0..4, do: {:codex_worker_summary, "w.#{n}", n * n}) ++
              [{:run_summary, "run full page", 5000}, {:codex_worker_summary, "w.long", 11_003}]

  defp row(:run_summary, id, seq), do: run_row(id, seq)
  defp row(:codex_worker_summary, id, seq), do: worker_row(id, seq)

  # An event log in memory, with these entities.
  defp log(entities) do
    {_, {table, _}} = MemoryLog.new()
    configure(:convex_event_log, MemoryLog)

    for {kind, id, n} <- entities do
      :ets.insert(table, {{kind, id}, row(kind, id, n)})
      for seq <- 1..n//1, do: :ets.insert(table, {{:event, kind, id, seq}, event(seq)})
    end
  end

  # One on disk, to append to.
  defp disk_log(c, entities) do
    start_supervised!({DiskEventLog, dir: Path.join(c.dir, "log")})
    configure(:convex_event_log, DiskEventLog)

    entities
    |> Task.async_stream(
      fn {:run_summary = kind, id, n} ->
        :ok = DiskEventLog.create_run(id, row(kind, id, n) |> Map.put(:latest_seq, 0))

        for seq <- 1..n do
          %{event_type: type, inserted_at: at} = event(seq)
          {:ok, ^seq} = DiskEventLog.append_event(id, type, %{}, inserted_at: at)
        end
      end,
      max_concurrency: 64
    )
    |> Stream.run()
  end

  # What must stand in Convex, as canonical JSON without projected_at.
  defp expected(entities, version \\ @version) do
    for {kind, id, n} <- entities, into: %{} do
      latest = if n > 0, do: event(n)

      doc = Summary.summary(kind, row(kind, id, n), %{count: n, latest: latest}, projection_version: version)

      json = doc |> Map.put("projection_hash", CanonicalJson.hash(doc)) |> CanonicalJson.encode()
      {Summary.document_id(kind, id), without_time(json)}
    end
  end

  defp without_time(json), do: String.replace(json, ~r/"projected_at":"[^"]*",/, "")

  defp documents(c) do
    assert {:ok, %{pending: 0}} = :convex_sidecar.flush(c.name, 60_000)
    now(c)
  end

  defp now(c),
    do: Map.new(Standin.documents(c.standin), fn {id, json} -> {id, without_time(json)} end)

  defp clear(c) do
    {:ok, _} = :convex_sidecar.clear(c.name, :all)
    assert documents(c) == %{}
  end

  defp kill(c) do
    {:ok, %{pid: pid}} = :convex_sidecar.status(c.name)
    {_, 0} = System.cmd("kill", ["-9", "#{pid}"])

    wait_until(
      fn -> match?({:ok, %{pid: new}} when new != pid, :convex_sidecar.status(c.name)) end,
      10_000
    )
  end

  # Project the events from..to of each entity, `step` at a time.
  defp project(c, entities, from, to, step) do
    for {kind, id, n} <- entities,
        first <- if(n == 0 and from == 1, do: [1], else: from..min(to, n)//step) do
      events = for seq <- first..min(first + step - 1, min(to, n))//1, do: event(seq)
      {:project, kind, id, row(kind, id, n), events, %{}}
    end
    |> Enum.chunk_every(1000)
    |> Enum.each(fn requests ->
      {:ok, replies} = :convex_sidecar.batch(c.name, requests, 30_000)
      assert Enum.all?(replies, &match?({:ok, _}, &1))
    end)
  end

  defp cli(c, args),
    do: System.cmd(program(), ["rebuild" | args] ++ ["--store", Path.join(c.dir, "store")], stderr_to_stdout: true)

  defp program, do: Application.app_dir(:convex_sidecar, "priv/convex_sidecar")

  defp export(c, opts \\ []) do
    path = Path.join(c.dir, "history.jsonl")
    {:ok, _counts} = File.open!(path, [:write, :raw], &Export.write(&1, opts))
    path
  end

  # ---- tests

  test "five ways of one history: the same documents, byte for byte", c do
    log(@entities)
    wanted = expected(@entities)

    project(c, @entities, 1, 20_000, 1)
    assert documents(c) == wanted, "event by event"

    clear(c)
    project(c, @entities, 1, 20_000, 20_000)
    assert documents(c) == wanted, "in one request"

    clear(c)

    for {from, to} <- [{1, 3}, {4, 10}, {11, 4000}] do
      project(c, @entities, from, to, 500)
      kill(c)
    end

    project(c, @entities, 4001, 20_000, 5000)
    assert documents(c) == wanted, "after three crashes"

    clear(c)
    assert {:ok, %{failed_entities: 0, total_entities: 19}} = Reprojection.rebuild_all()
    assert documents(c) == wanted, "rebuilt from the VM"

    clear(c)
    path = export(c)
    assert path |> File.read!() |> String.split("\n", trim: true) |> length() == 19 + 1 + 2
    assert {out, 0} = cli(c, ["--from", path])

    assert out =~ "19 entities" and
             out =~ "19 written, 0 skipped (the sidecar has newer ones), 0 failed"

    assert documents(c) == wanted, "rebuilt from a file"

    # All of it again, beside what stands: nothing is written a second time.
    written = Standin.stat(c.standin, "documentsWritten")
    {:ok, %{metrics: %{delivered_total: sent}}} = :convex_sidecar.status(c.name)
    assert {:ok, %{failed_entities: 0}} = Reprojection.rebuild_all()
    assert {_, 0} = cli(c, ["--from", path])
    assert documents(c) == wanted
    project(c, @entities, 1, 20_000, 20_000)
    assert documents(c) == wanted
    assert Standin.stat(c.standin, "documentsWritten") == written
    assert {:ok, %{metrics: %{delivered_total: now_sent}}} = :convex_sidecar.status(c.name)
    assert now_sent >= sent + 19
  end

  test "what was altered in Convex is put right, and nothing else is written", c do
    entities = for n <- 1..20, do: {:run_summary, "run #{n}", 3}
    log(entities)
    {:ok, _} = Reprojection.rebuild_all()
    wanted = documents(c)
    assert wanted == expected(entities)

    alter(
      c,
      "runtime/run_summary:run 3",
      &String.replace(&1, ~s("status":"running"), ~s("status":"forged"))
    )

    alter(
      c,
      "runtime/run_summary:run 4",
      &String.replace(&1, ~s("owner_user_id":42), ~s("owner_user_id":43))
    )

    altered = now(c)
    assert Enum.count(altered, fn {id, json} -> json != wanted[id] end) == 2

    # The sidecar knows of no difference, so only a forced write shows it.
    assert {:ok, %{results: results}} = Reprojection.rebuild_all(force: false)
    assert Enum.all?(results, &(&1.reason == "idempotent"))
    assert documents(c) == altered
    written = Standin.stat(c.standin, "documentsWritten")
    {:ok, _} = Reprojection.rebuild_all()
    assert documents(c) == wanted
    assert Standin.stat(c.standin, "documentsWritten") == written + 2

    alter(c, "runtime/run_summary:run 5", &String.replace(&1, "naïve", "knowing"))
    assert {_, 0} = cli(c, ["--from", export(c)])
    assert documents(c) == wanted
    assert Standin.stat(c.standin, "documentsWritten") == written + 4
  end

  # As somebody who has the admin key: same seq and hash, other content.
  defp alter(c, id, change) do
    json = Standin.documents(c.standin)[id]
    [hash] = Regex.run(~r/"projection_hash":"(\w+)"/, json, capture: :all_but_first)

    item = ~s({"kind":"run_summary","document_id":"#{id}","seq":3,"content_hash":"#{hash}","summary":#{change.(json)}})

    body = ~s({"path":"runtime:upsertBatch","format":"convex_encoded_json","args":[{"items":[#{item}]}]})

    {:ok, _} = Application.ensure_all_started(:inets)
    headers = [{~c"authorization", String.to_charlist("Convex " <> c.standin.admin_key)}]

    request = {String.to_charlist(c.standin.url <> "/api/mutation"), headers, ~c"application/json", body}

    assert {:ok, {{_, 200, _}, _, answer}} = :httpc.request(:post, request, [], body_format: :binary)

    assert answer =~ ~s("outcome":"updated")
  end

  test "a rebuild of thousands, killed in the middle together with the sidecar, resumes", c do
    entities = for n <- 10_000..12_499, do: {:run_summary, "run #{n}", rem(n, 4)}
    log(entities)

    state = Path.join(c.dir, "state")

    opts = [
      worker_ids: [],
      resume: state,
      results: :failed,
      max_concurrency: 16,
      wait: true,
      timeout: 20_000
    ]

    test = self()

    progress = fn %{done: done} ->
      if done == 1000, do: send(test, {:half, self()}) && Process.sleep(:infinity)
    end

    {rebuilder, ref} = spawn_monitor(fn -> Reprojection.rebuild_all(opts ++ [progress: progress]) end)

    assert_receive {:half, ^rebuilder}, 60_000
    Process.exit(rebuilder, :kill)
    assert_receive {:DOWN, ^ref, _, _, :killed}
    kill(c)

    assert File.exists?(state)
    assert {:ok, %{total_entities: left, failed_entities: 0}} = Reprojection.rebuild_all(opts)
    assert left in 1500..2499
    refute File.exists?(state)
    assert documents(c) == expected(entities)
  end

  test "a rebuild from a file, whose sidecar is killed in the middle, says where to go on", c do
    entities = for n <- 10_000..12_499, do: {:run_summary, "run #{n}", rem(n, 4)}
    log(entities)
    path = export(c, kinds: [:run_summary])
    {first, rest} = path |> File.read!() |> String.split("\n", trim: true) |> Enum.split(1500)

    fifo = Path.join(c.dir, "fifo")
    {_, 0} = System.cmd("mkfifo", [fifo])
    rebuild = Task.async(fn -> cli(c, ["--from", fifo, "--timeout", "10"]) end)
    feed = File.open!(fifo, [:write, :raw])
    :ok = :file.write(feed, Enum.map(first, &[&1, ?\n]))

    kept = fn ->
      match?({:ok, %{metrics: %{kept_total: n}}} when n >= 500, :convex_sidecar.status(c.name))
    end

    wait_until(kept, 20_000)
    kill(c)
    _ = :file.write(feed, Enum.map(rest, &[&1, ?\n]))
    File.close(feed)
    assert {out, 3} = Task.await(rebuild, 60_000)

    assert [line] = Regex.run(~r/not at the end; go on with --from-line (\d+)/, out, capture: :all_but_first)

    assert String.to_integer(line) in 1..2000
    assert {out, 0} = cli(c, ["--from", path, "--from-line", line, "--json"])

    assert [_] = Regex.run(~r/\{"entities":\d+,"written":\d+,"skipped":0,"failed":0,"seconds":/, out)

    assert documents(c) == expected(entities)
  end

  test "bad lines are named and counted, the rest is rebuilt; usage", c do
    log([{:run_summary, "a", 3}, {:run_summary, "b", 1}])
    path = export(c)
    [a, b] = path |> File.read!() |> String.split("\n", trim: true)

    bad = [
      a,
      ~s({"kind":"run_summary","id":"torn","row":{"sta),
      ~s({"kind":"run_summary","id":"hole","row":{},"events":[{"seq":1,"event_type":"t"},{"seq":3,"event_type":"t"}]}),
      ~s({"kind":"nonsense","id":"x","row":{}}),
      ~s({"kind":"codex_worker_summary","id":"w","row":{"metadata":{"$no":1}}}),
      b
    ]

    File.write!(path, Enum.join(bad, "\n"))
    before = documents(c)
    assert {out, 1} = cli(c, ["--from", path, "--dry-run"])
    assert out =~ "line 3: events[1]: after event 1 comes 3" and out =~ "4 entities would be sent, 2 failed; nothing was sent"
    assert documents(c) == before
    assert {out, 1} = cli(c, ["--from", path])
    assert out =~ ~r/line 2: line 1, column \d+/
    assert out =~ "line 3: events[1]: after event 1 comes 3"
    assert out =~ ~r/line 4: nonsense x: .*nonsense/
    assert out =~ ~r/line 5: codex_worker_summary w: .*metadata/
    assert out =~ "2 written" and out =~ "4 failed"
    assert documents(c) == expected([{:run_summary, "a", 3}, {:run_summary, "b", 1}])

    assert {_, 1} = cli(c, ["--from", Path.join(c.dir, "absent")])
    assert {_, 2} = cli(c, [])
    assert {_, 2} = cli(c, ["--from", path, "--from-line", "0"])
    assert {_, 2} = cli(c, ["--from", path, "--all"])
    assert {out, 2} = System.cmd(program(), ["status", "--lower"], stderr_to_stdout: true)
    assert out =~ "rebuild"
    empty = Path.join(c.dir, "empty")
    File.write!(empty, "")
    assert {out, 0} = cli(c, ["--from", empty])
    assert out =~ "0 entities"
  end

  test "a file that is older than what stands leaves it alone, unless it may go lower", c do
    entities = for n <- 1..5, do: {:run_summary, "run #{n}", 4}
    disk_log(c, entities)
    path = export(c)

    {:ok, 5} =
      DiskEventLog.append_event("run 1", "run.finished", %{},
        inserted_at: at(5),
        row: %{status: "finished"}
      )

    {:ok, _} = Reprojection.rebuild_all()
    newest = documents(c)
    assert newest["runtime/run_summary:run 1"] =~ ~s("latest_seq":5)
    assert {out, 0} = cli(c, ["--from", path])
    assert out =~ "4 written, 1 skipped"
    assert documents(c) == newest
    # and the events that come next fit to what is folded
    {:ok, 6} = DiskEventLog.append_event("run 1", "run.delta", %{}, inserted_at: at(6))
    assert {:ok, %{seq: 6, summary: %{"event_count" => 6}}} = Projector.project_run("run 1")
    assert {out, 0} = cli(c, ["--from", path, "--lower"])
    assert out =~ "5 written, 0 skipped"
    assert documents(c) == expected(entities)
    {:ok, 7} = DiskEventLog.append_event("run 1", "run.delta", %{}, inserted_at: at(7))
    assert {:ok, %{seq: 7, summary: %{"event_count" => 7}}} = Projector.project_run("run 1")
  end

  test "beside live writes the newest wins, and no document ever goes back", c do
    ids = for n <- 1..60, do: "run #{n}"
    disk_log(c, for(id <- ids, do: {:run_summary, id, 2}))
    {:ok, _} = Reprojection.rebuild_all()
    path = export(c)
    test = self()

    live =
      for part <- Enum.chunk_every(ids, 20) do
        Task.async(fn ->
          for _ <- 1..30, id <- part do
            {:ok, _} = DiskEventLog.append_event(id, "run.delta")
            :ok = Projector.project_run_async(id)
          end

          send(test, :appended)
        end)
      end

    from_file = Task.async(fn -> for _ <- 1..5, do: {_, 0} = cli(c, ["--from", path]) end)

    for _ <- 1..5,
        do: assert({:ok, %{failed_entities: 0}} = Reprojection.rebuild_all(max_concurrency: 4))

    Task.await_many([from_file | live], 120_000)
    :ok = :convex_sidecar.settle(c.name, 30_000)
    documents = documents(c)
    assert map_size(documents) == 60

    for {_id, json} <- documents,
        do: assert(json =~ ~s("event_count":32,) and json =~ ~s("latest_seq":32,))

    for {id, versions} <- Enum.group_by(Standin.history(c.standin), &elem(&1, 0)) do
      seqs = Enum.map(versions, &elem(&1, 1))
      assert {id, seqs} == {id, Enum.sort(seqs)}
    end
  end

  test "another projection_version is rebuilt while the old documents keep serving", c do
    entities = for n <- 1..300, do: {:run_summary, "run #{n}", 2}
    log(entities)
    {:ok, _} = Reprojection.rebuild_all()
    old = documents(c)
    assert old == expected(entities)
    new = expected(entities, "v2")

    {:ok, :paused} = :convex_sidecar.pause(c.name)
    assert {:ok, %{results: results}} = Reprojection.rebuild_all(projection_version: "v2")
    assert Enum.all?(results, &match?(%{write: "queued", reason: "projection_version_changed"}, &1))
    assert now(c) == old
    Standin.config(c.standin, ~s({"latency":30}))
    {:ok, :running} = :convex_sidecar.resume(c.name)

    wait_until(
      fn ->
        standing = now(c)
        assert map_size(standing) == 300
        for {id, json} <- standing, do: assert(json in [old[id], new[id]])
        standing == new
      end,
      30_000
    )
  end

  test "mix runtime.convex.export", c do
    import ExUnit.CaptureIO
    log(@entities)
    path = Path.join(c.dir, "out.jsonl")
    task = &Mix.Tasks.Runtime.Convex.Export.run/1

    assert capture_io(:stderr, fn -> task.(["--to", path]) end) =~
             "exported 19 entities in 22 lines"

    assert File.read!(path) == export(c) |> File.read!()
    assert File.ls!(c.dir) |> Enum.filter(&String.contains?(&1, "out")) == ["out.jsonl"]

    for line <- File.stream!(path) do
      assert String.trim(line) =~
               ~r/^\{"events":\[.*\],"id":".*","kind":"(run|codex_worker)_summary"(,"more":true)?(,"row":\{.*\})?\}$/
    end

    text =
      capture_io(fn ->
        capture_io(:stderr, fn -> task.(["--to", "-", "--kind", "run_summary"]) end)
      end)

    assert text == Enum.map_join(Export.lines(kinds: [:run_summary]), &(&1 <> "\n"))

    for wrong <- [[], ["--to"], ["--to", path, "--kind", "k"], ["x"]],
        do: assert_raise(Mix.Error, fn -> task.(wrong) end)
  end
end
