defmodule ConvexSidecar.PiecesTest do
  @moduledoc "The pieces of the Elixir side that need nobody else, each by itself."
  use SidecarCase, async: false

  alias OpenAgentsRuntime.Convex.{Audit, CanonicalJson, EventLog, Export, JsonText, RebuildState, Reprojection}
  alias OpenAgentsRuntime.Convex.{SinkCheckpoints, Source, Summary, Sweep, Telemetry}

  @moduletag :capture_log

  # As the package of that name has it.
  defp decimal(sign, coef, exp), do: %{__struct__: Decimal, sign: sign, coef: coef, exp: exp}

  test "canonical JSON: numbers, decimals, keys, and what has no form" do
    encoded = &CanonicalJson.encode/1

    for {term, text} <- [
          {1.0e21, "1e+21"},
          {1.0e-7, "1e-7"},
          {1.5e-7, "1.5e-7"},
          {1.25e22, "1.25e+22"},
          {100.0, "100"},
          {0.001, "0.001"},
          {-2.5, "-2.5"},
          {decimal(1, 0, 0), ~s("0")},
          {decimal(-1, 5, 0), ~s("-5")},
          {decimal(1, 125, -2), ~s("1.25")},
          {decimal(1, 5, -1), ~s("0.5")},
          {decimal(1, 5, -3), ~s("0.005")},
          {decimal(1, 1, -6), ~s("0.000001")},
          {decimal(1, 1, -7), ~s("1E-7")},
          {decimal(1, 125, -8), ~s("0.00000125")},
          {decimal(1, 125, -9), ~s("1.25E-7")},
          {decimal(-1, 125, -10), ~s("-1.25E-8")},
          {decimal(1, 5, 1), ~s("5E+1")},
          {decimal(1, 1, 3), ~s("1E+3")},
          {decimal(1, 125, 2), ~s("1.25E+4")},
          {decimal(1, :inf, 0), ~s("Infinity")},
          {decimal(-1, :inf, 0), ~s("-Infinity")},
          {decimal(1, :NaN, 0), ~s("NaN")},
          {%{"b" => 1, a: nil}, ~s({"a":null,"b":1})},
          {9_007_199_254_740_993, ~s({"$integer":"AQAAAAAAIAA="})}
        ],
        do: assert({term, encoded.(term)} == {term, text})

    for bad <- [{1}, self(), <<255>>, %{"a" => 1, a: 2}, %{1 => 2}, 1 <<< 64, %{a: <<255>>}],
        do: assert_raise(ArgumentError, fn -> encoded.(bad) end)

    assert CanonicalJson.hash(%{"a" => 1, "projected_at" => "x", "projection_hash" => "y"}) == CanonicalJson.hash(%{a: 1})
  end

  defp a <<< b, do: Bitwise.bsl(a, b)

  test "JSON as a database writes it, and what is none" do
    for {text, term} <- [
          {~s( {"a" : [1, -2.5 , true,false,null], "b":{}} ), %{"a" => [1, -2.5, true, false, nil], "b" => %{}}},
          {"[]", []},
          {"[ [1] ]", [[1]]},
          {~s("x\\n\\"\\u00e9\\ud83d\\ude00y"), "x\n\"é😀y"},
          {"1e3", 1000.0},
          {"1.5E-2", 0.015},
          {"123456789012345678901234567890", 123_456_789_012_345_678_901_234_567_890},
          {String.duplicate("9", 400) <> ".5", String.to_integer(String.duplicate("9", 400))}
        ],
        do: assert({text, JsonText.decode(text)} == {text, term})

    for bad <- ["", "{", "[1 2]", "[,1]", "{,}", ~s({"a" 1}), ~s({"a":1 "b":2}), "{1:2}", "1 2", "x", ~s("x), ~s("\\x"), "1e999", "[1"],
        do: assert_raise(ArgumentError, fn -> JsonText.decode(bad) end)
  end

  test "where a rebuild stands is kept beside, a second apart, and goes when all is done" do
    path = Path.join(tmp_dir(), "state")
    state = RebuildState.open(path, :all, nil)
    state = RebuildState.note(state, :next, {:run_summary, "a"}, :ok)
    assert %{done: 1, position: {:run_summary, "a"}} = RebuildState.open(path, :all, nil)
    refute File.exists?(path <> ".new")
    # Within the second nothing is written.
    state = RebuildState.note(state, :next, {:run_summary, "b"}, :error)
    assert %{done: 1} = RebuildState.open(path, :all, nil)
    assert :ok = RebuildState.close(state, true)
    stands = RebuildState.open(path, :all, nil)
    assert {stands.done, stands.position, MapSet.to_list(stands.failed)} == {2, {:run_summary, "b"}, [{:run_summary, "b"}]}
    assert stands |> RebuildState.note(:again, {:run_summary, "b"}, :error) |> Map.get(:failed) |> MapSet.size() == 1
    mended = RebuildState.note(stands, :again, {:run_summary, "b"}, :ok)
    assert {mended.done, MapSet.size(mended.failed)} == {2, 0}
    assert :ok = RebuildState.close(mended, false)
    assert File.exists?(path)
    assert :ok = RebuildState.close(mended, true)
    refute File.exists?(path)
    # What has failed is bounded: from there on nothing is passed over.
    full = %{state | path: nil, failed: MapSet.new(for(i <- 1..9_999, do: {:run_summary, "#{i}"})), done: 0}
    more = full |> RebuildState.note(:next, {:run_summary, "x"}, :error) |> RebuildState.note(:next, {:run_summary, "y"}, :ok)
    assert {more.position, more.done, MapSet.size(more.failed)} == {{:run_summary, "x"}, 1, 10_000}
    File.write!(path, "nonsense.")
    assert_raise ArgumentError, ~r/not the state/, fn -> RebuildState.open(path, :all, nil) end
  end

  test "what a sink has written, and whether it is written again" do
    here = {__MODULE__, test: unique()}
    at = fn seq, version, hash -> %{seq: seq, version: version, hash: hash} end
    stands = at.(5, "v1", "h")

    for {standing, coming, opts, write?, reason, lag} <- [
          {nil, stands, [], true, nil, 5},
          {stands, at.(7, "v1", "x"), [], true, nil, 2},
          {stands, at.(4, "v1", "x"), [], false, "checkpoint_ahead", 0},
          {stands, at.(4, "v1", "x"), [reset: true], true, "checkpoint_ahead", 0},
          {stands, at.(5, "v2", "h"), [], true, "projection_version_changed", 0},
          {stands, at.(5, "v1", "h"), [], false, "idempotent", 0},
          {stands, at.(5, "v1", "h"), [force: true], true, nil, 0},
          {stands, at.(5, "v1", "x"), [], true, "summary_hash_mismatch", 0},
          {at.(5, "v1", nil), at.(5, "v1", nil), [], true, "summary_hash_mismatch", 0}
        ] do
      assert {coming, opts, SinkCheckpoints.decide(standing, coming, opts)} ==
               {coming, opts, %{write?: write?, reason: reason, lag_events: lag}}
    end

    configure(:convex_sink_checkpoint_limit, 2)
    SinkCheckpoints.forget_all()
    for id <- ~w(a b), do: SinkCheckpoints.put(here, id, stands)
    assert {SinkCheckpoints.find(here, "a"), SinkCheckpoints.find(here, "b")} == {stands, stands}
    assert SinkCheckpoints.find({__MODULE__, []}, "a") == nil
    SinkCheckpoints.put(here, "c", stands)
    assert {SinkCheckpoints.find(here, "a"), SinkCheckpoints.find(here, "c")} == {nil, stands}
  end

  # ---- telemetry

  defp told do
    receive do
      {:telemetry, event, measurements, metadata} -> [{event, measurements, metadata} | told()]
    after
      0 -> []
    end
  end

  test "each outcome of a projection is measured, drift and failures beside it" do
    watch_telemetry()
    entity = %{projection: "run_summary", document_id: "runtime/run_summary:a", entity_id: "a"}
    measured = fn outcome -> with(_ <- Telemetry.projected(:run_summary, "a", outcome, 7), do: told()) end
    write = fn lag, words -> {:write, %{count: 1, duration_ms: 7, lag_events: lag}, Map.merge(entity, words)} end
    assert measured.({:ok, %{write: "queued", reason: nil, lag_events: 3}}) == [write.(3, %{result: "ok", reason_class: "none"})]
    assert measured.({:ok, %{write: "skipped", reason: "idempotent"}}) == [write.(0, %{result: "skipped", reason_class: "idempotent"})]

    assert measured.({:ok, %{write: "queued", reason: "checkpoint_ahead", lag_events: 0}}) == [
             {:drift, %{count: 1}, Map.put(entity, :reason_class, "checkpoint_ahead")},
             write.(0, %{result: "ok", reason_class: "checkpoint_ahead"})
           ]

    assert measured.({:error, {:sink_write_failed, :busy}}) == [
             write.(0, %{result: "error", reason_class: "busy"}),
             {:write_failure, %{count: 1}, Map.put(entity, :reason_class, "busy")}
           ]

    assert measured.({:error, {:invalid_summary, :x}}) == [write.(0, %{result: "error", reason_class: "x"})]
    Telemetry.replayed("run", "ok", nil, 5)
    Telemetry.swept(:name, :done, %{why: "wiped", duration_ms: 6})

    assert told() == [
             {:replay, %{count: 1, duration_ms: 5}, %{scope: "run", result: "ok", reason_class: "none"}},
             {:sweep, %{count: 1, duration_ms: 6}, %{instance: :name, phase: "done", why: "wiped"}}
           ]
  end

  test "a reason as one word of bounded variety" do
    for {reason, word} <- [
          {nil, "none"},
          {:busy, "busy"},
          {"dead", "dead"},
          {"any text", "error"},
          {{:http_status, 500, "x"}, "http_status"},
          {{}, "error"},
          {{"text", 1}, "error"},
          {["x"], "error"},
          {%{}, "error"},
          {{:sink_write_failed, {:store, :full}}, "store"}
        ],
        do: assert({reason, Telemetry.reason_class(reason)} == {reason, word})

    assert {Telemetry.word("a"), Telemetry.word("a b")} == {"a", ~s("a b")}
  end

  # ---- event logs

  defmodule Plain do
    @moduledoc "A log of runs and their numbers of events, as the test has put it down; reads one at a time."
    @behaviour EventLog
    def all(kind), do: Process.get({:log, kind}, %{})
    @impl true
    def row(kind, id), do: with(%{^id => n} <- all(kind), do: {:ok, %{run_id: id, latest_seq: n, secret: "x"}}, else: (_ -> :error))

    @impl true
    def events_after(kind, id, seq, limit) do
      for n <- (seq + 1)..Map.get(all(kind), id, 0)//1,
          n <= seq + limit,
          do: %{seq: n, event_type: "run.x", inserted_at: "2026-01-01T00:00:00Z", payload: 1}
    end

    @impl true
    def ids(kind, after_id, limit), do: all(kind) |> Map.keys() |> Enum.sort() |> Enum.filter(&(&1 > (after_id || ""))) |> Enum.take(limit)
  end

  defmodule Able do
    @moduledoc "The same, with all that a log may have beside."
    @behaviour EventLog
    @impl true
    defdelegate row(kind, id), to: Plain
    @impl true
    defdelegate events_after(kind, id, seq, limit), to: Plain
    @impl true
    defdelegate ids(kind, after_id, limit), to: Plain
    @impl true
    def rows(kind, ids), do: for(id <- ids, {:ok, row} <- [row(kind, id)], into: %{}, do: {id, row})
    @impl true
    def events_of(kind, froms, limit), do: for({id, seq} <- froms, into: %{}, do: {id, events_after(kind, id, seq, limit)})
    @impl true
    def in_transaction?, do: Process.get(:in_transaction, false)
    @impl true
    def version_of(%{latest_seq: n}), do: if(n > 0, do: n * 10)

    @impl true
    def changed_since(kind, since, limit) do
      send(self(), {:changed_since, since})
      ids(kind, nil, limit)
    end
  end

  test "what a log can is asked of it; what is configured is read unless another is named" do
    assert EventLog.many?(Able)
    refute EventLog.many?(Plain)
    refute EventLog.many?(NoSuchLog)
    refute EventLog.in_transaction?(Able)
    Process.put(:in_transaction, true)
    assert EventLog.in_transaction?(Able)
    refute EventLog.in_transaction?(Plain)
    refute EventLog.in_transaction?(NoSuchLog)
    configure(:convex_event_log, nil)
    assert EventLog.module([]) == nil
    assert_raise ArgumentError, ~r/no event log/, fn -> EventLog.module!([]) end
    assert EventLog.module!(event_log: Plain) == Plain
    configure(:convex_event_log, Able)
    assert {EventLog.module([]), EventLog.module!([]), EventLog.module(event_log: Plain)} == {Able, Able, Plain}
    EventLog.forget_said()

    assert ExUnit.CaptureLog.capture_log(fn -> for(_ <- 1..3, do: EventLog.say_none()) end)
           |> String.split("nothing is projected")
           |> length() == 2

    Process.put({:log, :run_summary}, Map.new(1..2500, &{"r#{10_000 + &1}", 0}))
    assert Able |> EventLog.stream_ids(:run_summary, "r10001") |> Enum.count() == 2499
  end

  test "a log as the sidecar's source: columns that are shown, versions, the ids of one of several, what has changed" do
    Process.put({:log, :run_summary}, Map.new(1..40, &{"r#{100 + &1}", 1}))
    {Source, arg} = Source.new(Able, :one, [:one], nil)
    assert Source.row(:run_summary, "r101", arg) == {:ok, %{:run_id => "r101", :latest_seq => 1, :"$version" => 10}}
    assert Source.row(:run_summary, "nobody", arg) == :error
    assert Source.rows(:run_summary, ["r101", "nobody"], arg) == %{"r101" => %{:run_id => "r101", :latest_seq => 1, :"$version" => 10}}
    assert Source.options(elem(Source.new(Able, :one, [:one], "v3"), 1)) == %{projection_version: "v3"}
    assert Source.options(elem(Source.of(Source.new(Able, :one, [:one], "v3"), :sweep), 1)) == %{projection_version: "v3", origin: :sweep}
    all = Source.ids(:run_summary, :undefined, 100, arg)
    assert length(all) == 40
    # Each id is one member's, in pages of any length, and none comes twice.
    of = fn member -> elem(Source.new(Able, member, [:one, :two], nil), 1) end

    every = fn every, arg, after_id ->
      with([_ | _] = ids <- Source.ids(:run_summary, after_id, 1, arg), do: ids ++ every.(every, arg, List.last(ids)))
    end

    [one, two] = for member <- [:one, :two], do: every.(every, of.(member), :undefined)
    assert {one != [], two != [], Enum.sort(one ++ two)} == {true, true, all}
    assert {:more, changed} = Source.changed_since(:run_summary, 1_700_000_000_000, 40, of.(:one))
    assert changed == one
    assert_received {:changed_since, ~U[2023-11-14 22:13:20.000Z]}
    assert {:all, ^all} = Source.changed_since(:run_summary, 0, 41, arg)
    assert Source.changed_since(:run_summary, 0, 41, elem(Source.new(Plain, :one, [:one], nil), 1)) == {:all, []}
    watch_telemetry()
    Source.done(:run_summary, "a", {:error, :not_found}, 1, arg)
    assert told() == []
    Source.done(:run_summary, "a", {:error, :busy}, 1, arg)
    assert [{:write, _, %{result: "error", reason_class: "busy"}}, {:write_failure, _, _}] = told()
  end

  test "what is swept: all kinds of the log, if there is one" do
    configure(:convex_event_log, nil)
    assert Sweep.sources(:any) == []
    configure(:convex_event_log, Able)
    configure(:convex_sidecar, name: :any)
    assert for({kind, {Source, {:origin, Able, :sweep}}} <- Sweep.sources(:any), do: kind) == [:run_summary, :codex_worker_summary]
  end

  test "a summary: where it stands, by its last event or its row, and when" do
    now = ~U[2026-02-19 20:00:00.000000Z]
    event = %{"seq" => 4, "event_type" => "run.x", "inserted_at" => now}

    summary =
      Summary.summary(:run_summary, %{"run_id" => "a", "latest_seq" => 9}, %{count: 3, latest: event}, now: now, projection_version: "v")

    at = "2026-02-19T20:00:00.000000Z"

    assert %{"latest_seq" => 4, "event_count" => 3, "latest_event_type" => "run.x", "latest_event_at" => ^at, "projected_at" => ^at} =
             summary

    assert %{"document_id" => "runtime/run_summary:a", "kind" => "run_summary", "run_id" => "a", "projection_version" => "v"} = summary
    assert summary["runtime_source"] == %{"entity" => "run", "run_id" => "a", "seq" => 4}
    bare = Summary.summary(:run_summary, %{run_id: "a", latest_seq: 9}, %{count: 0, latest: nil}, [])
    assert %{"latest_seq" => 9, "latest_event_type" => nil, "latest_event_at" => nil} = bare
    assert {:ok, _, 0} = DateTime.from_iso8601(bare["projected_at"])
    assert Summary.summary(:run_summary, %{run_id: "a"}, %{count: 0, latest: nil}, [])["latest_seq"] == 0
    Process.put({:log, :run_summary}, %{"a" => 5000, "b" => 5001, "c" => 0})
    assert for(id <- ~w(a b c), do: Summary.events_info(Plain, :run_summary, id).count) == [5000, 5001, 0]
    assert Summary.events_info(Plain, :run_summary, "b").latest.seq == 5001

    for {change, verdict} <- [
          {%{}, :ok},
          {%{"projected_at" => now}, :ok},
          {%{"runtime_source" => %{"seq" => -1}}, {:error, :runtime_seq_missing}},
          {%{"runtime_source" => %{"seq" => 0}}, :ok},
          {%{"runtime_source" => %{}}, {:error, :runtime_seq_missing}},
          {%{"projection_version" => ""}, {:error, :projection_version_missing}},
          {%{"projection_version" => nil}, {:error, :projection_version_missing}},
          {%{"projected_at" => nil}, {:error, :projected_at_missing}},
          {%{"projected_at" => "now"}, {:error, :projected_at_invalid}}
        ],
        do: assert({change, Summary.validate(Map.merge(summary, change))} == {change, verdict})
  end

  test "an export: a line an entity, a page of events a line, and how many" do
    Process.put({:log, :run_summary}, %{"a" => 2, "long" => 5001})
    {:ok, device} = StringIO.open("")
    test = self()
    assert Export.write(device, event_log: Plain, kinds: [:run_summary], progress: &send(test, &1)) == {:ok, %{entities: 2, lines: 3}}
    assert_received %{entities: 1, lines: 1}
    assert_received %{entities: 2, lines: 2}
    refute_received %{lines: 3}
    [a, first, more] = device |> StringIO.contents() |> elem(1) |> String.split("\n", trim: true) |> Enum.map(&JsonText.decode/1)
    event = %{"seq" => 1, "event_type" => "run.x", "inserted_at" => "2026-01-01T00:00:00Z"}
    assert %{"id" => "a", "kind" => "run_summary", "row" => %{"run_id" => "a", "latest_seq" => 2}, "events" => [^event, _]} = a
    refute Map.has_key?(a["row"], "secret") or Map.has_key?(a, "more")
    assert {first["id"], length(first["events"]), first["more"]} == {"long", 5000, true}
    assert {Map.has_key?(more, "row"), Enum.map(more["events"], & &1["seq"]), more["more"]} == {false, [5001], nil}
  end

  # ---- what asks the sidecar

  defp instance do
    {name, fake} = start_fake()
    configure(:convex_sidecar, name: name)
    configure(:convex_event_log, MemoryLog)
    {fake, MemoryLog.new()}
  end

  test "a rebuild that only looks says how a document compares, and measures nothing" do
    {fake, log} = instance()
    MemoryLog.add(log, "a", 3)
    watch_telemetry()
    {:ok, row} = MemoryLog.row(:run_summary, "a")
    summary = Summary.summary(:run_summary, row, Summary.events_info(MemoryLog, :run_summary, "a"), [])
    hash = CanonicalJson.hash(summary)
    looked = fn answer -> with(:ok <- FakeSidecar.script(fake, [answer]), do: elem(Reprojection.rebuild_run("a", dry_run: true), 1)) end

    for {answer, says} <- [
          {{:error, :not_found}, "new"},
          {{:ok, %{state: "cleared", seq: 9, projection_hash: nil}}, "new"},
          {{:ok, %{state: "x", seq: 4, projection_hash: hash}}, "ahead"},
          {{:ok, %{state: "x", seq: 3, projection_hash: hash}}, "same"},
          {{:ok, %{state: "x", seq: 2, projection_hash: hash}}, "same"},
          {{:ok, %{state: "x", seq: nil, projection_hash: hash}}, "same"},
          {{:ok, %{state: "x", seq: 3, projection_hash: "other"}}, "different"}
        ],
        do: assert({answer, Map.take(looked.(answer), [:result, :write, :reason])} == {answer, %{result: "ok", write: "dry", reason: says}})

    assert %{result: "error", reason: "sink_write_failed"} = looked.({:error, :busy})
    assert told() == []
    assert Enum.uniq(FakeSidecar.requests(fake)) == [{:checkpoint, "runtime/run_summary:a"}]
    FakeSidecar.script(fake, List.duplicate({:error, :not_found}, 4))
    assert {:ok, %{total_entities: 1, reasons: %{"new" => 1}}} = Reprojection.rebuild_all(dry_run: true, worker_ids: [], run_ids: ["a"])
    for _ <- 1..2, do: MemoryLog.add(log, "b#{unique()}", 1)
    assert {:ok, %{reasons: %{"new" => 3}}} = Reprojection.rebuild_all(dry_run: true, worker_ids: [])
    assert {:ok, summary} = Reprojection.rebuild_all(worker_ids: [], run_ids: ["a"])
    refute Map.has_key?(summary, :reasons)
  end

  test "an audit: what is asked; a repair projects again what was found, and goes on while the list is full" do
    {fake, log} = instance()
    MemoryLog.add(log, "a", 1)
    counts = Map.new(~w(checked missing stale ahead altered orphaned second_look unsettled repaired took_ms)a, &{&1, 1})

    found = fn id, what, repaired, kind ->
      %{document_id: "runtime/run_summary:#{id}", finding: what, repaired: repaired, kind: kind, seq: 1, convex_seq: 1}
    end

    report = fn findings, stopped -> {:ok, Map.merge(counts, %{findings: findings, stopped: stopped, next: "n"})} end
    full = "the list of findings is full"

    # Without a repair a full list is the end of it.
    FakeSidecar.script(fake, [report.([found.("a", "stale", false, "run_summary")], full)])
    assert {:ok, %{reprojected: 0, failed: [], checked: 1, stopped: ^full}} = Audit.audit(:all, timeout: 5000)
    assert FakeSidecar.requests(fake) == [{:audit, :all, %{repair: false, after: nil}}]

    first = [
      found.("a", "stale", true, "run_summary"),
      found.("gone", "orphaned", true, "run_summary"),
      found.("b", "altered", false, "run_summary")
    ]

    second = [found.("gone", "missing", true, "run_summary"), found.("x", "orphaned", true, "other"), found.("y", "stale", true, "other")]
    FakeSidecar.script(fake, [report.(first, full), :normal, report.(second, nil)])
    assert {:ok, sum} = Audit.audit(:run_summary, repair: true, after: "m", timeout: 5000)
    assert %{checked: 2, took_ms: 2, reprojected: 1, stopped: nil, next: "n"} = sum
    assert length(sum.findings) == 6

    assert for(f <- sum.failed, do: {f.document_id, f.reason}) == [
             {"runtime/run_summary:b", :beyond_repair},
             {"runtime/run_summary:gone", "run_not_found"},
             {"runtime/run_summary:y", :not_of_this_runtime}
           ]

    requests = Enum.drop(FakeSidecar.requests(fake), 1)
    assert [{:audit, :run_summary, %{repair: true, after: "m"}}, {:project, _, "a", _, _, options}, {:audit, _, %{after: "n"}}] = requests
    assert %{reset: true, force: true} = options
    # A repair whose list is not full ends as well.
    FakeSidecar.script(fake, [report.([], "cancelled")])
    assert {:ok, %{stopped: "cancelled"}} = Audit.audit(:all, repair: true)
    FakeSidecar.script(fake, [{:error, :busy}])
    assert Audit.audit(:all) == {:error, :busy}
  end
end
