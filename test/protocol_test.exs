defmodule ProtocolTest do
  @moduledoc """
  Every row of docs/PROTOCOL.md, from a real BEAM against the real program, by plain GenServer calls.
  """
  use SidecarCase, async: false

  alias OpenAgentsRuntime.Convex.{CanonicalJson, Summary}

  @run "runtime/run_summary:"
  @t ~U[2026-02-19 20:00:00.000000Z]

  setup context do
    dir = tmp_dir()
    sink = Map.get(context, :sink, type: :file, file: Path.join(dir, "out.jsonl"))
    options = [name: unique_name(), node: :"p#{unique()}_#{System.pid()}@127.0.0.1", store_dir: Path.join(dir, "store")]
    config = [sink: sink] ++ Map.get(context, :config, [])
    name = start_instance(options ++ [config: config])
    :ok = :convex_sidecar.await(name, 10_000)
    %{dir: dir, name: name, server: {:convex_sidecar, options[:node]}}
  end

  defp ask(c, request, timeout \\ 5000), do: GenServer.call(c.server, request, timeout)
  defp event(seq, type \\ "run.delta"), do: %{seq: seq, event_type: type, inserted_at: @t, payload: %{ignored: self()}}
  defp events(range), do: Enum.map(range, &event/1)

  defp project(c, id, events, opts \\ %{}, row \\ %{"status" => "running"}),
    do: ask(c, {:project, :run_summary, id, row, events, opts})

  defp lines(c), do: c.dir |> Path.join("out.jsonl") |> File.read!() |> String.split("\n", trim: true)

  describe "a C node" do
    test "answers pings and unknown names", c do
      node = elem(c.server, 1)
      assert Node.ping(node) == :pong
      assert {:noproc, _} = catch_exit(GenServer.call({:nobody, node}, :x, 5000))
      assert node in Node.list(:hidden)
    end

    test "answers what is no message of the page with bad_request", c do
      improper = {:batch, [{:project, :run_summary, "improper", %{}, [], %{}} | :tail]}

      for request <- [
            :nonsense,
            {:project, :run_summary},
            {:batch, :no_list},
            improper,
            {:flush, -1},
            {:dead, :what},
            {:checkpoint, 7},
            "text",
            12,
            {},
            []
          ],
          do: assert(ask(c, request) == {:error, :bad_request}, inspect(request))

      assert ask(c, {:checkpoint, "runtime/run_summary:improper"}) == {:error, :not_found}
    end

    test "takes casts", c do
      :ok = GenServer.cast(c.server, {:project, :run_summary, "cast", %{}, events(1..2), %{}})
      :ok = GenServer.cast(c.server, {:batch, [{:project, :run_summary, "cast2", %{}, events(1..1), %{}}]})
      :ok = GenServer.cast(c.server, :nonsense)
      wait_until(fn -> match?({:ok, %{seq: 1}}, ask(c, {:checkpoint, @run <> "cast2"})) end)
      assert {:ok, %{seq: 2}} = ask(c, {:checkpoint, @run <> "cast"})
      assert {:ok, %{metrics: %{messages_unknown_total: 1}}} = ask(c, :status)
    end
  end

  describe "project" do
    test "keeps a document and says what became of it", c do
      assert {:ok, result} = project(c, "r1", events(1..3))
      assert %{document_id: @run <> "r1", write: "queued", reason: nil, seq: 3, lag_events: 3, coalesced: false} = result
      assert result.projection_hash =~ ~r/^[0-9a-f]{64}$/
      assert Enum.sort(Map.keys(result)) == [:coalesced, :document_id, :lag_events, :projection_hash, :reason, :seq, :write]
      assert {:ok, %{pending: 0}} = ask(c, {:flush, 5000})
      assert [line] = lines(c)
      assert line =~ ~s("document_id":"runtime/run_summary:r1","seq":3)
    end

    test "names may be atoms or binaries, options a map or a proplist", c do
      assert {:ok, %{seq: 1}} =
               ask(c, {:project, "run_summary", "a", %{status: "x"}, [%{"seq" => 1, "event_type" => "t", "inserted_at" => nil}], []})

      assert {:ok, %{seq: 2}} = ask(c, {:project, :run_summary, "a", %{}, events(2..2), [{:ack, :kept}, {"projection_version", "v2"}]})
      assert {:ok, %{projection_version: "v2"}} = ask(c, {:checkpoint, @run <> "a"})
    end

    test "return => summary gives the document, and it is what the Elixir side makes", c do
      row = %{"status" => "running", owner_user_id: 42, thread_id: nil, updated_at: @t}
      assert {:ok, %{summary: summary, projection_hash: hash}} = project(c, "s", events(1..2), %{return: :summary, now: @t}, row)

      expected =
        Summary.summary(:run_summary, Map.put(row, :run_id, "s"), %{count: 2, latest: event(2)},
          projection_version: "convex_summary_v1",
          now: @t
        )

      assert Map.delete(summary, "projection_hash") == expected
      assert hash == CanonicalJson.hash(expected)
      assert summary["projection_hash"] == hash
    end

    test "events seen already are ignored, a hole is named and changes nothing", c do
      assert {:ok, %{seq: 2}} = project(c, "g", events(1..2))
      assert {:error, {:gap, 3, 4}} = project(c, "g", events(4..5))
      assert {:error, {:gap, 4, 5}} = project(c, "g", [event(3), event(5)])
      assert {:ok, %{seq: 4, lag_events: 2}} = project(c, "g", events(1..4))
      assert {:ok, %{event_count: 4, folded_seq: 4}} = ask(c, {:checkpoint, @run <> "g"})
      assert {:error, {:gap, 1, 7}} = project(c, "new", events(7..7))
    end

    test "log_end: what stands in a folded event's place, a shorter log, and below", c do
      other = fn seq -> %{event(seq) | event_type: "other"} end
      full = %{log_end: 5, return: :summary}
      assert {:error, {:gap, 1, 6}} = project(c, "le", [], %{log_end: 5})
      assert {:ok, %{seq: 5, reason: nil}} = project(c, "le", events(1..5), %{log_end: 5})
      assert {:ok, %{write: "skipped", reason: "idempotent"}} = project(c, "le", [event(5)], %{log_end: 5})
      assert {:ok, %{write: "queued", reason: "summary_hash_mismatch", summary: summary}} = project(c, "le", [other.(5)], full)
      assert %{"latest_event_type" => "other", "event_count" => 5, "latest_seq" => 5} = summary
      assert {:ok, %{write: "skipped", reason: "checkpoint_ahead", seq: 5}} = project(c, "le", [event(3)], %{log_end: 3})
      assert {:ok, %{folded_seq: 5}} = ask(c, {:checkpoint, @run <> "le"})
      assert {:ok, %{write: "queued", reason: "checkpoint_ahead", seq: 4}} = project(c, "le", [other.(4)], %{log_end: 4})
      assert {:ok, %{write: "queued", seq: 2}} = project(c, "le", [event(2)], %{log_end: 2, below: true})
      assert {:ok, %{folded_seq: 2, event_count: 2, seq: 2}} = ask(c, {:checkpoint, @run <> "le"})
      assert {:ok, %{seq: 4}} = project(c, "le", events(2..4), %{log_end: 4})
      assert {:error, {:invalid, "log_end", _}} = project(c, "le", [event(4)], %{log_end: 5})
      assert {:error, {:invalid, "below", _}} = project(c, "le", [event(4)], %{below: true})
      assert {:error, {:invalid, "opts.log_end", _}} = project(c, "le", [], %{log_end: -1})
    end

    test "row_version goes into runtime_source", c do
      assert {:ok, %{summary: %{"runtime_source" => source}}} = project(c, "rv", events(1..1), %{row_version: 7, return: :summary})
      assert source == %{"entity" => "run", "run_id" => "rv", "row_version" => 7, "seq" => 1}
      assert {:ok, %{reason: "summary_hash_mismatch"}} = project(c, "rv", [], %{row_version: 8})
      assert {:error, {:invalid, "opts.row_version", _}} = project(c, "rv", [], %{row_version: -1})
    end

    test "after_seq: a row that builds on events this store has not seen asks for them", c do
      assert {:error, {:gap, 1, 6}} = project(c, "as", [], %{after_seq: 5})
      assert {:error, :not_found} = ask(c, {:checkpoint, @run <> "as"})
      assert {:ok, %{seq: 5}} = project(c, "as", events(1..5))
      assert {:ok, %{seq: 5, write: "skipped"}} = project(c, "as", [], %{after_seq: 5})
      assert {:error, {:invalid, "opts.after_seq", _}} = project(c, "as", [], %{after_seq: -1})
      assert {:error, {:invalid, "after_seq", _}} = project(c, "as", [], %{after_seq: 2 ** 63 - 1})
    end

    test "every row of the decision table", c do
      assert {:ok, %{write: "queued", reason: nil, lag_events: 5}} = project(c, "d", events(1..5), %{ack: :kept})
      {:ok, _} = ask(c, {:flush, 5000})
      assert {:ok, %{write: "skipped", reason: "idempotent", lag_events: 0}} = project(c, "d", [])
      assert {:ok, %{write: "queued", reason: "summary_hash_mismatch", lag_events: 0}} = project(c, "d", [], %{}, %{"status" => "stopping"})
      {:ok, _} = ask(c, {:flush, 5000})

      assert {:ok, %{write: "queued", reason: "projection_version_changed"}} =
               project(c, "d", [], %{projection_version: "v2"}, %{"status" => "stopping"})

      {:ok, _} = ask(c, {:flush, 5000})
      assert {:ok, %{write: "queued", reason: nil, lag_events: 2}} = project(c, "d", events(6..7))
      older = Summary.summary(:run_summary, %{run_id: "d"}, %{count: 3, latest: event(3)}, projection_version: "convex_summary_v1", now: @t)

      assert {:ok, %{write: "skipped", reason: "checkpoint_ahead", lag_events: 0}} =
               ask(c, {:upsert, :run_summary, @run <> "d", older, %{}})

      {:ok, :paused} = ask(c, :pause)
      assert {:ok, %{coalesced: false}} = project(c, "e", events(1..1))
      assert {:ok, %{write: "queued", coalesced: true, lag_events: 1}} = project(c, "e", events(2..2))
      {:ok, :running} = ask(c, :resume)
    end

    test "ack => written answers when the sink has it", c do
      assert {:ok, %{write: "applied"}} = project(c, "w", events(1..1), %{ack: :written})
      assert [_] = lines(c)
      assert {:ok, %{write: "skipped", reason: "idempotent"}} = project(c, "w", [], %{ack: :written})
      {:ok, :paused} = ask(c, :pause)
      assert {:error, {:sink_write_failed, why}} = project(c, "w", events(2..2), %{ack: :written, deadline_ms: 50})
      assert why =~ "timeout"
      assert {:ok, %{state: "pending", seq: 2}} = ask(c, {:checkpoint, @run <> "w"})
    end

    test "now, seq_range, reset", c do
      assert {:ok, %{summary: s}} = project(c, "o", events(1..3), %{now: @t, seq_range: {1, 3}, return: :summary})
      assert %{"projected_at" => "2026-02-19T20:00:00.000000Z", "runtime_source" => %{"seq" => 3, "seq_range" => [1, 3]}} = s

      assert {:ok, %{summary: %{"projected_at" => later}}} =
               project(c, "o", events(4..4), %{now: "2026-02-19T20:00:00.000000Z", return: :summary})

      assert later == "2026-02-19T20:00:00.000001Z"
      assert {:ok, %{seq: 2, write: "queued"}} = project(c, "o", events(1..2), %{reset: true})
      assert {:ok, %{event_count: 2, seq: 2}} = ask(c, {:checkpoint, @run <> "o"})
      assert {:ok, %{seq: 12, summary: %{"event_count" => 3}}} = project(c, "o", events(10..12), %{reset: true, return: :summary})
    end

    test "force, unless_ahead, events_before", c do
      assert {:ok, %{write: "queued"}} = project(c, "f", events(1..3), %{ack: :kept})
      {:ok, _} = ask(c, {:flush, 5000})
      assert {:ok, %{write: "skipped", reason: "idempotent"}} = project(c, "f", [], %{})
      assert {:ok, %{write: "applied", reason: nil}} = project(c, "f", [], %{force: true, ack: :written})
      assert length(lines(c)) == 2
      ahead = %{reset: true, force: true, unless_ahead: true}
      assert {:ok, %{write: "skipped", reason: "checkpoint_ahead"}} = project(c, "f", events(1..2), ahead)
      assert {:ok, %{seq: 3, folded_seq: 3}} = ask(c, {:checkpoint, @run <> "f"})
      assert {:ok, %{seq: 4, write: "queued"}} = project(c, "f", events(4..4), %{})

      assert {:ok, %{seq: 9, summary: %{"event_count" => 9}}} =
               project(c, "f", events(8..9), %{reset: true, events_before: 7, return: :summary})

      assert {:error, {:invalid, "events_before", _}} = project(c, "f", events(8..9), %{reset: true, events_before: 8})
      assert {:error, {:invalid, "events_before", _}} = project(c, "f", events(10..10), %{events_before: 1})
    end

    test "bad options are named", c do
      for {opts, path} <- [
            {%{ack: :sometime}, "opts.ack"},
            {%{nonsense: 1}, "opts.nonsense"},
            {%{deadline_ms: -1}, "opts.deadline_ms"},
            {%{reset: 1}, "opts.reset"},
            {%{force: :yes}, "opts.force"},
            {%{unless_ahead: nil}, "opts.unless_ahead"},
            {%{events_before: -1}, "opts.events_before"},
            {%{return: :all}, "opts.return"},
            {%{seq_range: {3, 1}}, "opts.seq_range"},
            {%{projection_version: 7}, "opts.projection_version"},
            {[:atom], "opts."},
            {:none, "opts."}
          ] do
        assert {:error, {:invalid, ^path, why}} = project(c, "x", [], opts)
        assert is_binary(why)
      end
    end

    test "what Convex would refuse is refused before it is kept, with the path", c do
      deep = Enum.reduce(1..15, 1, fn _, v -> %{"k" => v} end)

      for {metadata, path} <- [
            {%{"$ref" => 1}, ~s(metadata["$ref"])},
            {%{"a" => [%{"é" => 1}]}, ~s(metadata.a[0]["é"])},
            {deep, "metadata"},
            {%{"b" => <<255>>}, "metadata.b"},
            {%{"n" => 1.0e3, "i" => 9_223_372_036_854_775_808}, "metadata.i"},
            {%{"l" => Enum.to_list(1..8193)}, "metadata.l"},
            {%{"t" => {1, 2}}, "metadata.t"},
            {%{"p" => self()}, "metadata.p"},
            {%{"f" => &is_atom/1}, "metadata.f"},
            {%{"r" => make_ref()}, "metadata.r"},
            {%{"bits" => <<1::3>>}, "metadata.bits"},
            {%{"i" => [1 | 2]}, "metadata.i"},
            {%{"s" => %URI{}}, "metadata.s"},
            {%{"k" => [a: 1]}, "metadata.k[0]"},
            {%{:a => 1, "a" => 2}, "metadata.a"}
          ] do
        assert {:error, {:invalid, got, why}} = ask(c, {:project, :codex_worker_summary, "w", %{metadata: metadata}, [], %{}})
        assert got == path, "#{inspect(metadata, limit: 3)}: #{got} #{why}"
      end

      assert {:error, {:invalid, _, why}} =
               ask(c, {:project, :codex_worker_summary, "w", %{metadata: %{"big" => String.duplicate("x", 1_050_000)}}, [], %{}})

      assert why =~ "1 MiB"
      assert {:error, :not_found} = ask(c, {:checkpoint, "runtime/codex_worker_summary:w"})
    end

    test "unknown kinds and ids that are none", c do
      assert {:error, {:unknown_kind, "nope"}} = ask(c, {:project, :nope, "x", %{}, [], %{}})

      for {id, why} <- [
            {"", "is empty"},
            {String.duplicate("x", 301), "an entity's id has at most 300 bytes, this one has 301"},
            {<<"r", 255>>, "is not UTF-8: byte 1 is 0xff"},
            {7, "is not text"},
            {"a\nb", "has the control character U+000A at byte 1"},
            {"a" <> <<0>>, "has the control character U+0000 at byte 1"}
          ],
          do: assert({:error, {:invalid, "entity_id", ^why}} = project(c, id, []))
    end
  end

  describe "upsert" do
    defp summary(id, seq),
      do: Summary.summary(:run_summary, %{run_id: id, status: "done"}, %{count: seq, latest: event(seq)}, projection_version: "v1", now: @t)

    test "keeps a finished document as it is", c do
      assert {:ok, %{seq: 4, write: "queued", projection_hash: hash}} = ask(c, {:upsert, :run_summary, @run <> "u", summary("u", 4), %{}})
      assert hash == CanonicalJson.hash(summary("u", 4))
      {:ok, _} = ask(c, {:flush, 5000})
      assert [line] = lines(c)
      assert line =~ CanonicalJson.encode(Map.put(summary("u", 4), "projection_hash", hash))
    end

    test "what it must carry", c do
      id = @run <> "u"

      for {key, word} <- [
            {"runtime_source", "runtime_seq_missing"},
            {"projection_version", "projection_version_missing"},
            {"projected_at", "projected_at_missing"}
          ] do
        assert {:error, {:invalid, _, ^word}} = ask(c, {:upsert, :run_summary, id, Map.delete(summary("u", 1), key), %{}})
      end

      assert {:error, {:invalid, _, "projected_at_invalid"}} =
               ask(c, {:upsert, :run_summary, id, Map.put(summary("u", 1), "projected_at", "soon"), %{}})

      assert {:error, :not_projector_owned} = ask(c, {:upsert, :run_summary, "somebody/else:u", summary("u", 1), %{}})
      assert {:error, :not_projector_owned} = ask(c, {:upsert, :run_summary, "runtime/codex_worker_summary:u", summary("u", 1), %{}})
    end
  end

  describe "batch" do
    test "answers in order, each for itself", c do
      requests = [
        {:project, :run_summary, "b1", %{}, events(1..1), %{}},
        {:nonsense},
        {:project, :nope, "b2", %{}, [], %{}},
        {:upsert, :run_summary, @run <> "b3", summary("b3", 2), %{return: :summary}},
        {:project, :run_summary, "b1", %{}, events(2..2), %{}}
      ]

      assert {:ok,
              [
                {:ok, %{seq: 1}},
                {:error, {:invalid, _, _}},
                {:error, {:unknown_kind, "nope"}},
                {:ok, %{seq: 2, summary: %{"run_id" => "b3"}}},
                {:ok, %{seq: 2, coalesced: true}}
              ]} = ask(c, {:batch, requests})

      assert {:ok, []} = ask(c, {:batch, []})
    end

    test "says only ok where no result is wanted, and all that is not ordinary", c do
      none = %{return: :none}
      ask = fn id, row, events -> {:project, :run_summary, id, row, events, none} end
      requests = [ask.("n1", %{}, events(1..1)), ask.("n2", %{}, events(2..2)), {:project, :run_summary, "n3", %{}, [], %{}}]

      assert {:ok, [:ok, {:error, {:gap, 1, 2}}, {:ok, %{write: "queued"}}]} = ask(c, {:batch, requests})
      assert {:ok, %{seq: 1, state: _}} = ask(c, {:checkpoint, @run <> "n1"})
      assert ask(c, ask.("n1", %{}, events(1..1))) == :ok
      assert {:ok, %{reason: "summary_hash_mismatch"}} = ask(c, ask.("n1", %{status: "other"}, events(1..1)))
      assert {:error, {:invalid, "opts.return", _}} = project(c, "n4", [], %{return: :all})
    end

    test "is refused whole while too many refusals wait for the rest of their batches", c do
      {:ok, :paused} = ask(c, :pause)
      {:ok, %{pid: pid}} = ask(c, :status)
      document = {:project, :run_summary, "waits", %{}, events(1..1), %{ack: :written, deadline_ms: 60_000}}
      batch = {:batch, [document | List.duplicate([], 9_999)]}
      ids = for _ <- 1..40, do: :gen_server.send_request(c.server, batch)
      {:ok, %{metrics: %{requests_busy_total: before}}} = ask(c, :status)
      assert {:reply, {:ok, [{:error, :busy}, {:error, _} | _] = replies}} = :gen_server.wait_response(List.last(ids), 10_000)
      # The other requests of the batch were bad, and are counted as that.
      assert Enum.count(replies, &(&1 == {:error, :busy})) >= 1 and before > 0
      assert :timeout = :gen_server.wait_response(hd(ids), 0)
      assert own_memory_mb(pid) < 200
      assert {:ok, [{:ok, %{seq: 1}}]} = ask(c, {:batch, [{:project, :run_summary, "fits", %{}, events(1..1), %{}}]})
    end

    test "has at most 10,000 requests", c do
      {:ok, %{metrics: %{requests_total: before, requests_refused_total: refused}}} = ask(c, :status)
      assert {:error, :bad_request} = ask(c, {:batch, List.duplicate([], 10_001)})
      assert {:ok, replies} = ask(c, {:batch, List.duplicate([], 10_000)})
      assert length(replies) == 10_000
      {:ok, %{metrics: %{requests_total: later, requests_refused_total: refused_later}}} = ask(c, :status)
      # What is no batch is one refusal, and no request.
      assert {later - before, refused_later - refused} == {10_000, 10_001}
    end

    # projections_total
    test "what was decided is counted by kind and reason", c do
      {:ok, %{metrics: %{requests_total: requests, skipped_total: skipped}}} = ask(c, :status)
      for seq <- [1, 2, 2, 2], do: {:ok, _} = project(c, "counted", events(1..seq))
      {:ok, _} = ask(c, {:project, :codex_worker_summary, "counted", %{"status" => "running"}, events(1..1), %{}})
      {:ok, %{by_kind: kinds, metrics: metrics}} = ask(c, :status)
      assert Enum.find(kinds, &(&1.kind == "run_summary")) == %{kind: "run_summary", taken: 4, skipped: 2}
      assert Enum.find(kinds, &(&1.kind == "codex_worker_summary")).taken == 1
      assert {metrics.requests_total - requests, metrics.skipped_total - skipped} == {5, 2}
    end

    test "is one commit", c do
      {:ok, %{metrics: %{commits_total: before}}} = ask(c, :status)
      {:ok, :paused} = ask(c, :pause)
      assert {:ok, replies} = ask(c, {:batch, for(i <- 1..1000, do: {:project, :run_summary, "m#{i}", %{}, events(1..1), %{}})})
      assert Enum.all?(replies, &match?({:ok, %{write: "queued"}}, &1))
      {:ok, %{metrics: %{commits_total: later, pending: 1000}}} = ask(c, :status)
      assert later - before == 1
    end
  end

  describe "looking and steering" do
    test "checkpoint", c do
      assert {:error, :not_found} = ask(c, {:checkpoint, @run <> "k"})
      {:ok, :paused} = ask(c, :pause)
      {:ok, %{projection_hash: hash}} = project(c, "k", events(1..2), %{now: @t})
      id = @run <> "k"
      assert {:ok, cp} = ask(c, {:checkpoint, id})

      assert cp == %{
               document_id: id,
               kind: "run_summary",
               state: "pending",
               seq: 2,
               event_count: 2,
               projection_version: "convex_summary_v1",
               projection_hash: hash,
               projected_at: "2026-02-19T20:00:00.000000Z",
               folded_seq: 2,
               delivered_seq: nil
             }

      {:ok, :running} = ask(c, :resume)
      {:ok, _} = ask(c, {:flush, 5000})
      assert {:ok, %{state: "delivered", seq: 2, delivered_seq: 2}} = ask(c, {:checkpoint, id})
    end

    test "clear: one, a kind, all", c do
      for id <- ~w(c1 c2 c3), do: {:ok, _} = project(c, id, events(1..1))
      {:ok, _} = ask(c, {:project, :codex_worker_summary, "w1", %{}, [], %{}})
      {:ok, _} = ask(c, {:flush, 5000})
      assert {:ok, %{cleared: 1}} = ask(c, {:clear, @run <> "c1"})
      {:ok, _} = ask(c, {:flush, 5000})
      assert {:ok, %{state: "cleared", folded_seq: 0, delivered_seq: nil}} = ask(c, {:checkpoint, @run <> "c1"})
      assert List.last(lines(c)) =~ ~s({"op":"remove","kind":"run_summary","document_id":"runtime/run_summary:c1")
      assert {:ok, %{cleared: 2}} = ask(c, {:clear, {:kind, :run_summary}})
      assert {:ok, %{cleared: 1}} = ask(c, {:clear, :all})
      assert {:error, {:unknown_kind, "nope"}} = ask(c, {:clear, {:kind, "nope"}})
      assert {:error, :not_projector_owned} = ask(c, {:clear, "elsewhere:1"})

      for {bad, why} <- [
            {<<255>>, "is not UTF-8: byte 20 is 0xff"},
            {<<"a", 0>>, "has the control character U+0000 at byte 21"},
            {String.duplicate("x", 301), "an entity's id has at most 300 bytes, this one has 301"}
          ],
          do: assert({:error, {:invalid, "document_id", ^why}} = ask(c, {:clear, @run <> bad}))

      for word <- [:show, :retry, :drop] do
        assert {:error, :not_found} = ask(c, {:dead, {word, @run <> <<255>>}})
        assert {:error, {:invalid, "document_id", _}} = ask(c, {:dead, {word, String.duplicate("x", 401)}})
      end

      assert {:error, {:invalid, "document_id", _}} = ask(c, {:checkpoint, String.duplicate("x", 401)})
      assert {:ok, %{seq: 1, write: "queued"}} = project(c, "c1", events(1..1))
    end

    test "clear with dry_run counts, and leaves all", c do
      for id <- ~w(dry1 dry2 dry3), do: {:ok, _} = project(c, id, events(1..1))
      dry = %{dry_run: true}
      assert {:ok, %{would_clear: 1}} = ask(c, {:clear, @run <> "dry1", dry})
      assert {:ok, %{would_clear: 3}} = ask(c, {:clear, {:kind, :run_summary}, dry})
      assert {:ok, %{would_clear: 3}} = ask(c, {:clear, :all, dry})
      assert {:error, {:invalid, "opts.dry_run", "true or false is wanted"}} = ask(c, {:clear, :all, %{dry_run: 1}})
      assert {:ok, %{cleared: 3}} = ask(c, {:clear, :all, %{dry_run: false}})
      assert {:ok, %{would_clear: 0}} = ask(c, {:clear, :all, dry})
    end

    test "clear all of many goes in portions", c do
      for b <- 1..3, do: {:ok, _} = ask(c, {:batch, for(i <- 1..500, do: {:project, :run_summary, "p#{b}_#{i}", %{}, events(1..1), %{}})})
      assert {:ok, %{would_clear: 1500}} = ask(c, {:clear, :all, %{dry_run: true}}, 20_000)
      assert {:ok, %{cleared: 1500}} = ask(c, {:clear, :all}, 20_000)
    end

    test "status", c do
      assert {:ok, s} = ask(c, :status)

      assert %{
               state: "running",
               sink: "file",
               draining: false,
               published: true,
               store_ok: true,
               sandbox: "no_new_privs" <> _,
               why: "",
               version: version,
               pid: pid
             } = s

      # Nothing goes to Convex, in batches or otherwise.
      assert %{batching: false, batch_mutation: ""} = s
      assert is_integer(pid) and version =~ ~r/^\d+\.\d+\.\d+$/
      assert s.node == Atom.to_string(elem(c.server, 1))
      assert s.metrics.peers == 1
    end

    test "flush waits for what is pending, at most its time", c do
      assert {:ok, %{pending: 0}} = ask(c, {:flush, 0})
      {:ok, :paused} = ask(c, :pause)
      {:ok, _} = project(c, "f", events(1..1))
      assert {:error, :timeout} = ask(c, {:flush, 30})
      waiting = Task.async(fn -> ask(c, {:flush, 5000}) end)
      {:ok, :running} = ask(c, :resume)
      assert {:ok, %{pending: 0}} = Task.await(waiting)
    end

    test "pause and resume", c do
      assert {:ok, :paused} = ask(c, :pause)
      wait_until(fn -> match?({:ok, %{state: "paused"}}, ask(c, :status)) end)
      {:ok, _} = project(c, "p", events(1..1))
      assert {:ok, :running} = ask(c, :resume)
      assert {:ok, %{pending: 0}} = ask(c, {:flush, 5000})
    end

    test "drain takes nothing new until resume", c do
      {:ok, _} = project(c, "dr", events(1..1))
      assert {:ok, %{pending: 0}} = ask(c, :drain)
      assert {:error, :draining} = project(c, "dr", events(2..2))
      assert {:ok, [{:error, :draining}]} = ask(c, {:batch, [{:project, :run_summary, "dr", %{}, [], %{}}]})
      assert {:ok, %{draining: true}} = ask(c, :status)
      assert {:ok, :running} = ask(c, :resume)
      assert {:ok, _} = project(c, "dr", events(2..2))
      {:ok, :paused} = ask(c, :pause)
      {:ok, _} = project(c, "dr", events(3..3))
      assert {:error, :timeout} = ask(c, {:drain, 30})
    end

    test "reload", c do
      assert {:ok, :reloaded} = ask(c, :reload)
    end

    test "dead letters when there are none", c do
      assert {:ok, []} = ask(c, {:dead, :list})
      assert {:ok, []} = ask(c, {:dead, {:list, "x"}})
      assert {:error, :not_found} = ask(c, {:dead, {:show, "x"}})
      assert {:error, :not_found} = ask(c, {:dead, {:retry, "x"}})
      assert {:error, :not_found} = ask(c, {:dead, {:drop, "x"}})
      assert {:ok, %{retried: 0}} = ask(c, {:dead, {:retry, :all}})
    end
  end

  describe "busy" do
    @describetag config: [store: [queue_requests: 16]]
    test "more than the queue holds is refused at once and whole", c do
      many = for i <- 1..64, do: {:project, :run_summary, "q#{i}", %{}, events(1..1), %{}}
      results = 1..40 |> Enum.map(fn _ -> Task.async(fn -> ask(c, {:batch, many}, 20_000) end) end) |> Task.await_many(30_000)
      assert Enum.any?(results, fn {:ok, replies} -> Enum.all?(replies, &(&1 == {:error, :busy})) end)
      for {:ok, replies} <- results, do: assert(length(Enum.uniq_by(replies, &elem(&1, 0))) == 1)
    end
  end

  describe "documents that callers wait to see written" do
    test "are not kept in memory, and beyond 256 MB of them callers are busy at once", c do
      {:ok, :paused} = ask(c, :pause)
      {:ok, %{pid: pid}} = ask(c, :status)
      row = %{"status" => String.duplicate("x", 900_000)}

      request = fn k ->
        {:project, :run_summary, "w#{rem(k, 10)}", row, events(1..1), %{ack: :written, force: true, deadline_ms: 60_000}}
      end

      # Now and then it is waited for: else a slow disk has the queue of the store full before.
      ids =
        for k <- 1..400 do
          if rem(k, 20) == 0, do: {:ok, _} = project(c, "beside", events(1..1))
          :gen_server.send_request(c.server, request.(k))
        end

      assert {:reply, {:error, :busy}} = :gen_server.wait_response(List.last(ids), 20_000)
      assert :timeout = :gen_server.wait_response(hd(ids), 0)
      assert own_memory_mb(pid) < 150
      assert {:ok, %{seq: 1}} = project(c, "other", events(1..1))
    end
  end

  describe "who waits on a connection that ends" do
    test "leaves the place to others", c do
      {:ok, :paused} = ask(c, :pause)
      {:ok, %{write: "queued"}} = project(c, "waits", events(1..1))
      ids = for _ <- 1..16_385, do: :gen_server.send_request(c.server, {:flush, 86_400_000})
      assert {:reply, {:error, :busy}} = :gen_server.wait_response(List.last(ids), 20_000)
      assert {:error, :busy} = ask(c, {:flush, 100})
      Node.disconnect(elem(c.server, 1))
      wait_until(fn -> answer_of(fn -> ask(c, {:flush, 100}) end) == {:error, :timeout} end)
      assert {:error, {:sink_write_failed, "timeout"}} = project(c, "w", events(1..1), %{ack: :written, deadline_ms: 100})
    end
  end

  # What it answers; nil: there is no connection.
  defp answer_of(fun) do
    fun.()
  catch
    :exit, _ -> nil
  end

  defp own_memory_mb(pid) do
    [_, kb] = Regex.run(~r/RssAnon:\s+(\d+)/, File.read!("/proc/#{pid}/status"))
    div(String.to_integer(kb), 1024)
  end
end
