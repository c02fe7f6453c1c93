defmodule ConvexSidecar.SourceTest do
  @moduledoc """
  What is read of an event log, and how it is handed over: without a conveyor, so that what is left to it stays where
  it was put.
  """
  use SidecarCase, async: true

  alias :convex_sidecar_batch, as: Batch
  alias :convex_sidecar_instance, as: Instance
  alias :convex_sidecar_source, as: Source

  @moduletag :capture_log

  setup do
    watch_log()
    fake = unique_name("fake")
    start_supervised!({FakeSidecar, fake}, id: fake)
    name = unique_name("source")
    info = Instance.open(name, %{dest: {fake, node()}, dirty_limit: 100, hint_limit: 3})
    on_exit(fn -> Instance.close(name) end)
    Instance.set_up(info, true)
    table = :ets.new(:log, [:ordered_set, :public])
    %{name: name, info: info, fake: fake, log: {MemoryLog, {table, self()}}}
  end

  defp add(c, id, n, columns \\ %{}), do: MemoryLog.add(c.log, id, n, columns)
  defp lose(c, id, seqs), do: for(seq <- seqs, do: MemoryLog.lose(c.log, id, seq))
  defp row(c, id, columns), do: MemoryLog.update(c.log, id, columns)
  defp read(c, id, from), do: Source.read(c.log, :run_summary, id, from)

  # {the events, what the request says of them}
  defp piece(c, id, from), do: with({:ok, p} <- read(c, id, from), do: {seqs(p.events), p.options})
  defp seqs(events), do: Enum.map(events, & &1.seq)

  describe "reading on" do
    test "the event that is believed to be folded is read once more, and the end is said", c do
      add(c, "a", 5)
      assert piece(c, "a", 3) == {[3, 4, 5], %{log_end: 5}}
      assert piece(c, "a", 5) == {[5], %{log_end: 5}}
      assert piece(c, "a", 0) == {[1, 2, 3, 4, 5], %{log_end: 5}}
      assert {:ok, %{last: 5, more: false, row: %{run_id: "a", latest_seq: 5}}} = read(c, "a", 3)
      assert read(c, "nobody", 3) == :not_found
      assert read(c, "nobody", :unknown) == :not_found
    end

    test "a log that begins after that has been pruned: it is folded anew; one that begins right there goes on", c do
      add(c, "a", 8)
      lose(c, "a", 1..3)
      assert piece(c, "a", 3) == {[4, 5, 6, 7, 8], %{log_end: 8}}
      assert said("source.begins_late") == []
      assert piece(c, "a", 2) == {[4, 5, 6, 7, 8], %{reset: true, unless_ahead: true}}
      assert [text] = said("source.begins_late")
      assert text =~ "id=a first=4"
      assert piece(c, "a", 0) == {[4, 5, 6, 7, 8], %{reset: true, unless_ahead: true}}
    end

    test "a hole behind that is the sidecar's to see", c do
      add(c, "a", 6)
      lose(c, "a", 3..4)
      assert piece(c, "a", 3) == {[5, 6], %{log_end: 6}}
      assert said("source.begins_late") == []
    end

    test "no events: what the row builds on is said, or that the log is shorter", c do
      add(c, "a", 5)
      lose(c, "a", 1..5)
      assert piece(c, "a", 5) == {[], %{after_seq: 5}}
      assert piece(c, "a", 4) == {[], %{after_seq: 4}}
      row(c, "a", %{latest_seq: nil})
      assert piece(c, "a", 7) == {[], %{after_seq: 7}}
      assert piece(c, "a", 0) == {[], %{}}
      row(c, "a", %{latest_seq: 0})
      assert piece(c, "a", 5) == {[], %{log_end: 0}}
      row(c, "a", %{latest_seq: 3})
      assert piece(c, "a", 5) == {[], %{after_seq: 3}}
    end

    test "a log that is shorter than was believed ends with the row's last event", c do
      add(c, "a", 3)
      assert piece(c, "a", 5) == {[3], %{log_end: 3}}
      assert piece(c, "a", 4) == {[3], %{log_end: 3}}
    end

    test "a full page says that there is more, and no end", c do
      add(c, "a", 5001)
      assert {:ok, %{more: true, last: 5000, options: options}} = read(c, "a", 0)
      assert options == %{}
      assert {:ok, %{more: true, last: 5001}} = read(c, "a", 2)
      assert {:ok, %{more: false, last: 5001, options: %{log_end: 5001}}} = read(c, "a", 3)
    end
  end

  describe "reading with a guess" do
    test "by the row the last event is the only one that is new", c do
      add(c, "a", 5)
      assert piece(c, "a", :unknown) == {[5], %{log_end: 5}}
      add(c, "one", 1)
      assert piece(c, "one", :unknown) == {[1], %{log_end: 1}}
      add(c, "none", 0)
      assert piece(c, "none", :unknown) == {[], %{}}
    end

    test "a row that is ahead of its events is no guess; one that is behind them is read once more, with its events", c do
      add(c, "ahead", 3)
      row(c, "ahead", %{latest_seq: 9})
      assert piece(c, "ahead", :unknown) == {[1, 2, 3], %{log_end: 3}}
      add(c, "behind", 5)
      row(c, "behind", %{latest_seq: 3})
      assert piece(c, "behind", :unknown) == {[2, 3, 4, 5], %{log_end: 5}}
    end
  end

  test "a row is known again by its columns and its last event, and by nothing else", c do
    seen = fn -> with({:ok, piece} <- read(c, "a", 2), do: piece.seen) end
    add(c, "a", 3)
    first = seen.()
    assert seen.() == first
    MemoryLog.replace(c.log, "a", 2, "run.other")
    assert seen.() == first
    MemoryLog.replace(c.log, "a", 3, "run.other")
    second = seen.()
    row(c, "a", %{status: "done"})
    assert Enum.uniq([first, second, seen.()]) == [first, second, seen.()]
  end

  test "a version of the row is no column, but said beside it; keys may be text, and payloads stay here", c do
    add(c, "a", 1, %{"$version": 17})
    assert {:ok, %{row: row, options: %{row_version: 17}}} = read(c, "a", 1)
    refute Map.has_key?(row, :"$version")
    {MemoryLog, {table, _}} = c.log
    event = %{"seq" => 2, "event_type" => "run.x", "inserted_at" => "now", "payload" => %{}}
    :ets.insert(table, {{:event, :run_summary, "a", 2}, event})
    assert {:ok, %{last: 2, events: [first, second]}} = read(c, "a", 1)
    assert Map.keys(first) == [:event_type, :inserted_at, :seq]
    assert second == Map.delete(event, "payload")
  end

  defmodule Many do
    @moduledoc "The log as one that reads many at once, and tells how often."
    @behaviour :convex_sidecar_source
    @impl true
    defdelegate row(kind, id, arg), to: MemoryLog
    @impl true
    defdelegate events_after(kind, id, seq, limit, arg), to: MemoryLog
    @impl true
    defdelegate ids(kind, after_id, limit, arg), to: MemoryLog
    @impl true
    def many(_arg), do: Process.get(:many, true)
    @impl true
    def options(_arg), do: %{projection_version: "v7", log_end: 99}

    @impl true
    def rows(kind, ids, arg) do
      send(self(), {:rows, ids})
      for id <- ids, {:ok, row} <- [MemoryLog.row(kind, id, arg)], into: %{}, do: {id, row}
    end

    @impl true
    def events_of(kind, froms, limit, arg) do
      send(self(), {:froms, froms})
      for {id, seq} <- froms, into: %{}, do: {id, MemoryLog.events_after(kind, id, seq, limit, arg)}
    end
  end

  describe "reading many" do
    defp many(c, wanted) do
      Source.read_many({Many, elem(c.log, 1)}, :run_summary, wanted)
      |> Map.new(fn
        {id, {:ok, piece}} -> {id, {seqs(piece.events), piece.options}}
        {id, :not_found} -> {id, :not_found}
      end)
    end

    test "those that nobody knows, in two questions; what is not there is said", c do
      for {id, n} <- [{"a", 5}, {"b", 1}, {"c", 0}], do: add(c, id, n)
      wanted = for id <- ~w(a b c gone), do: {id, :unknown}

      assert many(c, wanted) == %{
               "a" => {[5], %{log_end: 5}},
               "b" => {[1], %{log_end: 1}},
               "c" => {[], %{log_end: 0}},
               "gone" => :not_found
             }

      assert_received {:rows, ~w(a b c gone)}
      assert_received {:froms, [{"a", 4}, {"b", 0}, {"c", 0}]}
      # One without events is read after them.
      assert_received {:rows, ["c"]}
      refute_received {:rows, _}
      refute_received {:froms, _}
      assert many(c, []) == %{}
      refute_received {:rows, _}
      refute_received {:froms, _}
    end

    test "those that are known, and then their rows", c do
      add(c, "a", 5)
      assert many(c, [{"a", 5}, {"b", 0}]) == %{"a" => {[5], %{log_end: 5}}}
      assert_received {:froms, [{"a", 4}, {"b", 0}]}
      assert_received {:rows, ["a"]}
      refute_received {:rows, _}
      refute_received {:froms, _}
    end

    test "a row that is behind its events is read again", c do
      add(c, "a", 5)
      row(c, "a", %{latest_seq: 4})
      assert many(c, [{"a", :unknown}]) == %{"a" => {[4, 5], %{log_end: 5}}}
      assert_received {:rows, ["a"]}
      assert_received {:froms, [{"a", 3}]}
      assert_received {:rows, ["a"]}
    end

    test "what has too much, a hole or nothing where it should go on is left to be read alone", c do
      add(c, "much", 32)
      add(c, "less", 31)
      add(c, "hole", 5)
      lose(c, "hole", 3..3)
      add(c, "lost", 5)
      lose(c, "lost", 1..5)
      wanted = [{"much", 0}, {"less", 0}, {"hole", 3}, {"lost", 4}]
      assert many(c, wanted) == %{"less" => {Enum.to_list(1..31), %{log_end: 31}}}
      # The row says that there are five.
      assert many(c, [{"lost", :unknown}]) == %{}
    end
  end

  describe "in a batch" do
    defp mark(id, source), do: {{:run_summary, id}, source}

    test "what can be read together is, by kind and source; one alone, or of a log that cannot, is asked for", c do
      for id <- ~w(a b), do: add(c, id, 5)
      source = {Many, elem(c.log, 1)}
      read = Batch.read_ahead([mark("a", source), mark("b", source), mark("gone", source), mark("a", c.log), mark("b", c.log)], c.info)
      assert Enum.sort(Map.keys(read)) == Enum.sort(for(id <- ~w(a b gone), do: mark(id, source)))
      assert read[mark("gone", source)] == :not_found
      assert {:ok, %{request: request, last: 5, more: false, events: 1, seen: seen}} = read[mark("a", source)]
      assert is_integer(seen)
      # The source's own options go before, and without done/5 nobody wants a result.
      assert {:project, :run_summary, "a", %{run_id: "a"}, [%{seq: 5}], options} = request
      assert options == %{log_end: 99, projection_version: "v7", return: :none}
      assert Batch.read_ahead([mark("a", source)], c.info) == %{}
      Process.put(:many, false)
      assert Batch.read_ahead([mark("a", source), mark("b", source)], c.info) == %{}
    end

    test "one alone: from what is remembered; a log that wants to be told is answered", c do
      add(c, "a", 5)
      Instance.remember(c.name, :run_summary, "a", 3)
      assert {:ok, %{request: {:project, :run_summary, "a", _, events, options}, events: 3}} = Batch.request(mark("a", c.log), c.info)
      assert {seqs(events), options} == {[3, 4, 5], %{log_end: 5}}
      assert Batch.request(mark("gone", c.log), c.info) == :not_found
    end

    test "to go below: where it said no, to the end of the log, or anew" do
      request = fn events, options -> {:project, :run_summary, "a", %{}, events, options} end
      below = fn events, options -> events |> request.(options) |> Batch.below() |> Tuple.to_list() |> Enum.drop(4) end
      assert below.([1], %{reset: true, unless_ahead: true}) == [[1], %{reset: true}]
      assert below.([1], %{log_end: 1}) == [[1], %{log_end: 1, below: true}]
      assert below.([], %{after_seq: 3, return: :none}) == [[], %{reset: true, return: :none}]
      assert below.([1], %{return: :none}) == [[1], %{return: :none}]
    end

    test "an older program is asked without what it does not know", c do
      request = {:project, :run_summary, "a", %{run_id: "a"}, [], %{log_end: 0, row_version: 1, projection_version: "v"}}
      assert {:ok, _} = Batch.hand_over(c.name, [request])
      refused = {:invalid, "opts.log_end", "there is no such option"}
      assert Instance.is_older(c.name, refused)
      assert [_] = said("sidecar.older")
      assert Instance.is_older(c.name, refused)
      assert said("sidecar.older") == []
      assert {:ok, _} = Batch.hand_over(c.name, [request])
      wait_until(fn -> length(FakeSidecar.requests(c.fake)) == 2 end)
      options = for {:batch, [{_, _, _, _, _, options}]} <- FakeSidecar.requests(c.fake), do: options
      assert options == [%{log_end: 0, row_version: 1, projection_version: "v"}, %{projection_version: "v"}]
      # Another that comes up may be newer.
      Instance.set_up(c.info, true)
      assert Instance.known_options(c.name, %{log_end: 0}) == %{log_end: 0}
      for other <- ["opts.nonsense", "row.log_end"], do: refute(Instance.is_older(c.name, {:invalid, other, "there is no such option"}))
      refute Instance.is_older(c.name, {:invalid, "opts.log_end", "must be a number"})
      refute Instance.is_older({c.fake, node()}, refused)
      refute Instance.is_older(unique_name("gone"), refused)
      assert Instance.known_options(unique_name("gone"), %{log_end: 0}) == %{log_end: 0}
    end
  end

  # What was logged under that name.
  defp said(event) do
    receive do
      {:log, _level, %{event: ^event}, text} -> [text | said(event)]
    after
      0 -> []
    end
  end

  defp project(c, id, options \\ %{}), do: Source.project(c.name, c.log, :run_summary, id, options)
  defp dirty(c), do: for({{{_, id}, _}} <- :ets.tab2list(c.info.dirty), do: id)
  defp asked(c), do: for({{{{_, id}, _}, in_transaction}, _, _, _} <- :ets.tab2list(c.info.asked), do: {id, in_transaction})
  defp hint(c, id), do: Instance.hint(c.name, :run_summary, id)
  defp requests(c), do: for({:project, _, _, _, events, options} <- FakeSidecar.requests(c.fake), do: {seqs(events), options})

  describe "projecting" do
    test "the answer is the caller's; what was folded is remembered, and a look is asked for", c do
      add(c, "a", 3)
      assert {:ok, %{seq: 3, write: "applied"}} = project(c, "a", ack: :written)
      # The guess, and what it lacked.
      assert requests(c) == [{[3], %{ack: :written, log_end: 3}}, {[1, 2, 3], %{ack: :written, log_end: 3}}]
      assert {hint(c, "a"), dirty(c), asked(c)} == {3, [], [{"a", false}]}
      assert project(c, "gone") == {:error, :not_found}
      assert dirty(c) == []
    end

    test "a long history goes page after page, and is begun anew once", c do
      add(c, "a", 7000)
      Instance.remember(c.name, :run_summary, "a", 0)
      assert {:ok, %{seq: 7000}} = project(c, "a", %{reset: true})
      assert [{first, %{reset: true} = options}, {second, last}] = requests(c)
      refute Map.has_key?(options, :log_end)
      assert {hd(first), List.last(first), hd(second), List.last(second)} == {1, 5000, 5000, 7000}
      assert last == %{log_end: 7000}
      assert {hint(c, "a"), asked(c)} == {7000, [{"a", false}]}
    end

    test "a gap is filled three times, and then is the answer", c do
      add(c, "a", 5)
      FakeSidecar.script(c.fake, List.duplicate({:error, {:gap, 3, 9}}, 5))
      Instance.remember(c.name, :run_summary, "a", 5)
      assert project(c, "a") == {:error, {:gap, 3, 9}}
      assert Enum.map(requests(c), &elem(&1, 0)) == [[5], [2, 3, 4, 5], [2, 3, 4, 5], [2, 3, 4, 5]]
      # What was believed before the gap is forgotten.
      assert hint(c, "a") == :unknown
      FakeSidecar.script(c.fake, [{:error, {:gap, 0, 9}}])
      assert project(c, "a") == {:error, {:gap, 0, 9}}
      assert length(requests(c)) == 5
    end

    test "what passes, and what may be another's row, is left to the conveyor; what is refused is not", c do
      for {answer, left} <- [
            {{:error, :busy}, ["a"]},
            {{:error, {:invalid, "x", "y"}}, []},
            {{:ok, %{reason: "summary_hash_mismatch", write: "queued"}}, ["a"]},
            {{:ok, %{reason: "checkpoint_ahead", write: "skipped"}}, ["a"]},
            {{:ok, %{reason: "idempotent", write: "skipped"}}, []},
            {{:ok, %{reason: nil, write: "queued"}}, []}
          ] do
        add(c, "a", 1)
        for table <- [c.info.dirty, c.info.asked], do: :ets.delete_all_objects(table)
        FakeSidecar.script(c.fake, [answer])
        assert project(c, "a") == answer
        assert {answer, dirty(c)} == {answer, left}
        # One that waits for its log is told by the conveyor.
        looked = match?({:ok, _}, answer) and not match?({:ok, %{reason: "checkpoint_ahead"}}, answer)
        assert {answer, asked(c) != []} == {answer, looked}
      end
    end

    test "of {Name, Node} nothing is remembered or left to anybody", c do
      add(c, "a", 1)
      there = {c.fake, node()}
      assert {:ok, %{seq: 1}} = Source.project(there, c.log, :run_summary, "a", %{})
      FakeSidecar.script(c.fake, [{:error, :busy}])
      assert {:error, :busy} = Source.project(there, c.log, :run_summary, "a", %{})
      assert {dirty(c), asked(c), hint(c, "a")} == {[], [], :unknown}
      assert Instance.hint(there, :run_summary, "a") == :unknown
      assert Instance.forget(there, :run_summary, "a") == :ok
    end
  end

  describe "rebuilding" do
    defp rebuild(c, id, options \\ %{}), do: Source.rebuild(c.name, c.log, :run_summary, id, options)

    test "all of it again in one request, however long; what was before is only counted", c do
      add(c, "a", 3)
      assert {:ok, %{seq: 3}} = rebuild(c, "a", force: true)
      assert requests(c) == [{[1, 2, 3], %{force: true, reset: true, unless_ahead: true}}]
      assert {hint(c, "a"), dirty(c)} == {3, []}

      for {n, first, before} <- [{7000, 5001, 5000}, {5000, 1, nil}, {10_000, 5001, 5000}] do
        add(c, "long#{n}", n)
        assert {:ok, %{seq: ^n}} = rebuild(c, "long#{n}")
        {events, options} = List.last(requests(c))
        assert {n, hd(events), options[:events_before]} == {n, first, before}
        assert hint(c, "long#{n}") == n
      end
    end

    test "what has no events is not remembered; what is gone is said", c do
      add(c, "none", 0)
      assert {:ok, _} = rebuild(c, "none")
      assert {requests(c), hint(c, "none")} == {[{[], %{reset: true, unless_ahead: true}}], :unknown}
      assert rebuild(c, "gone") == {:error, :not_found}
      assert rebuild(c, "gone", clear: "x") == {:error, :not_found}
      assert length(FakeSidecar.requests(c.fake)) == 1
    end

    test "a log may begin anywhere, and has no hole after that", c do
      add(c, "a", 7000)
      lose(c, "a", 1..4)
      assert {:ok, %{seq: 7000}} = rebuild(c, "a")
      lose(c, "a", [4000])
      assert rebuild(c, "a") == {:error, {:gap, 4000, 4001}}
      MemoryLog.add(c.log, "edge", 7000)
      lose(c, "edge", [5001])
      assert rebuild(c, "edge") == {:error, {:gap, 5001, 5002}}
    end

    test "a log that is behind is read once more, and then goes below, and on", c do
      add(c, "a", 3)
      Instance.remember(c.name, :run_summary, "a", 3)
      ahead = {:ok, %{write: "skipped", reason: "checkpoint_ahead", seq: 3}}
      FakeSidecar.script(c.fake, [ahead, ahead])
      assert {:ok, %{write: "queued"}} = rebuild(c, "a", force: true)

      assert requests(c) == [
               {[1, 2, 3], %{force: true, reset: true, unless_ahead: true}},
               {[1, 2, 3], %{force: true, reset: true, unless_ahead: true}},
               {[1, 2, 3], %{force: true, reset: true, unless_ahead: false}},
               {[3], %{log_end: 3}}
             ]
    end

    test "one that fails remembers nothing, and is left to the conveyor when it passes", c do
      add(c, "a", 3)

      for {answer, left} <- [{{:error, {:invalid, "x", "y"}}, []}, {{:error, :busy}, ["a"]}] do
        Instance.remember(c.name, :run_summary, "a", 3)
        FakeSidecar.script(c.fake, [answer])
        assert rebuild(c, "a") == answer
        assert {hint(c, "a"), dirty(c)} == {:unknown, left}
      end
    end

    test "cleared first, when asked for; a clear that fails is the answer", c do
      add(c, "a", 1)
      FakeSidecar.script(c.fake, [{:error, :not_found}])
      assert {:ok, _} = rebuild(c, "a", clear: "runtime/run_summary:a")
      assert [{:clear, "runtime/run_summary:a"}, {:project, _, _, _, _, options}] = FakeSidecar.requests(c.fake)
      refute Map.has_key?(options, :clear)
      FakeSidecar.script(c.fake, [{:error, :draining}])
      assert rebuild(c, "a", clear: "runtime/run_summary:a") == {:error, :draining}
      assert {length(FakeSidecar.requests(c.fake)), dirty(c)} == {3, ["a"]}
    end
  end

  defmodule Asked do
    @moduledoc "A source that is asked, and may fail."
    def in_transaction(answer), do: answer.()
    def done(kind, id, outcome, ms, told), do: told.({kind, id, outcome, ms})
  end

  test "whether a source is in a transaction: no, if it cannot say", c do
    assert Source.in_transaction({Asked, fn -> true end})
    refute Source.in_transaction({Asked, fn -> false end})
    refute Source.in_transaction({Asked, fn -> raise "not started" end})
    refute Source.in_transaction(c.log)
  end

  test "a source is told if it wants to know; one that raises then is named once in ten seconds", c do
    test = self()
    mark = {{:run_summary, "a"}, {Asked, &send(test, {:told, &1})}}
    Source.tell(mark, {:error, :x}, 7, c.name)
    assert_received {:told, {:run_summary, "a", {:error, :x}, 7}}
    refute Source.tell({{:run_summary, "a"}, {Many, nil}}, {:error, :x}, 7, c.name)
    ill = {{:run_summary, "a b"}, {Asked, fn _ -> raise "ill" end}}
    for _ <- 1..3, do: Source.tell(ill, {:error, :x}, 7, c.name)
    assert [text] = said("conveyor.source_failed")
    assert text =~ ~s(kind=run_summary id="a b" held_back=0 error:)
    [{_, until, 2}] = :ets.lookup(c.info.state, :source_failed)
    :ets.insert(c.info.state, {:source_failed, until - 10_000, 2})
    Source.tell(ill, {:error, :x}, 7, c.name)
    assert [text] = said("conveyor.source_failed")
    assert text =~ "held_back=2"
    assert [{_, _, 0}] = :ets.lookup(c.info.state, :source_failed)
  end

  test "health is asked of nobody: up, not connected, stopped, a store that fails", c do
    assert Instance.health(c.name) == :ok

    says = fn scope, why, next ->
      :ets.insert(c.info.state, {:shown, %{scope => %{state: if(scope == :sidecar, do: :down, else: :stopped), why: why, next: next}}})
    end

    says.(:endpoint, "no key", "mend it")
    assert Instance.health(c.name) == {:error, {:stopped, "no key; next: mend it"}}
    says.(:store, "full", "")
    assert Instance.health(c.name) == {:error, {:store_failing, "full"}}
    Instance.set_up(c.info, false)
    assert Instance.health(c.name) == {:error, {:not_connected, "no connection to #{node()} yet"}}
    says.(:sidecar, "it ended", "")
    assert Instance.health(c.name) == {:error, {:not_connected, "no connection to #{node()}: it ended"}}
    assert Instance.destination(c.name) == :down
    assert {:error, {:not_started, _}} = Instance.health(unique_name("gone"))
  end

  test "what was folded is remembered of so many, and then of the next ones", c do
    for {id, n} <- [{"a", 1}, {"b", 2}, {"c", 3}], do: Instance.remember(c.name, :run_summary, id, n)
    assert {hint(c, "a"), hint(c, "b"), hint(c, "c")} == {1, 2, 3}
    Instance.forget(c.name, :run_summary, "b")
    assert {hint(c, "a"), hint(c, "b")} == {1, :unknown}
    Instance.remember(c.name, [{{:run_summary, "d"}, 4}])
    assert {hint(c, "a"), hint(c, "d")} == {1, 4}
    Instance.remember(c.name, :run_summary, "e", 5)
    assert {hint(c, "a"), hint(c, "c"), hint(c, "e")} == {:unknown, :unknown, 5}
    gone = unique_name("gone")
    assert Instance.remember(gone, :run_summary, "a", 1) == :ok
    assert Instance.hint(gone, :run_summary, "a") == :unknown
    assert Instance.remember({c.fake, node()}, :run_summary, "z", 1) == :ok
    assert hint(c, "z") == :unknown
  end
end
