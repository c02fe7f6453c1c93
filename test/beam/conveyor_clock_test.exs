defmodule ConvexSidecar.ConveyorClockTest do
  @moduledoc """
  The conveyor without a clock and without a process: the test calls it with events and reads what it asks of
  gen_statem, so that each answer, pause and batch is exact and nothing is waited for.
  """
  use SidecarCase, async: true

  alias :convex_sidecar_conveyor, as: Conveyor

  @moduletag :capture_log

  # Places in its record.
  @limit 7
  @rest 8
  @pace 9

  defmodule Hands do
    @moduledoc "Hands over in the test's own process, as that has put it down."
    @behaviour :convex_sidecar_conveyor
    @impl true
    def window, do: Process.get(:window, 1)

    @impl true
    def request({{_, id}, _}, _info) do
      send(self(), {:asked, id})

      case Process.get({:request, id}, []) do
        :not_found -> :not_found
        fun when is_function(fun) -> fun.()
        found -> {:ok, Enum.into(found, %{request: id, last: 3, more: false, events: 1, seen: 7})}
      end
    end

    @impl true
    def read_ahead(marks, _info), do: Process.get(:read_ahead, fn _ -> %{} end).(marks)
    @impl true
    def below(request), do: {:below, request}

    @impl true
    def hand_over(_name, requests) do
      send(self(), {:handed, requests})
      with nil <- Process.get(:refuses), do: {:ok, Process.get(:ref) || make_ref()}
    end

    @impl true
    def answer({:answer, reply}, _ref), do: {:reply, reply}
    def answer(_message, _ref), do: :no
  end

  defmodule Source do
    @moduledoc "A source that tells the test what it is told, and asked."
    @behaviour :convex_sidecar_source
    @impl true
    def row(_, _, _), do: raise("not asked")
    @impl true
    def events_after(_, _, _, _, _), do: raise("not asked")

    @impl true
    def ids(_kind, after_id, _limit, test) do
      send(test, {:ids, after_id})
      if after_id == :undefined, do: Process.get(:ids, []), else: []
    end

    @impl true
    def done(_kind, id, outcome, ms, test) when ms >= 0, do: send(test, {:told, id, outcome})

    @impl true
    def changed_since(_kind, _since, _limit, test) do
      send(test, :changed_since)
      {:all, []}
    end
  end

  setup do
    watch_log()
  end

  # A conveyor that has looked round once and found nothing; each call of event/3 goes on with it.
  defp start(options \\ %{}) do
    {limits, options} = Map.split(options, [:dirty_limit])
    name = unique_name("conveyor")
    info = :convex_sidecar_instance.open(name, Map.merge(%{dest: {:nobody, node()}, dirty_limit: 100, hint_limit: 100}, limits))
    on_exit(fn -> :convex_sidecar_instance.close(name) end)
    :convex_sidecar_instance.set_up(info, true)
    begin(%{name: name, info: info, source: {Source, self()}}, options)
  end

  defp begin(c, options \\ %{}) do
    options = Map.merge(%{name: c.name, hand_over: Hands, batch_limit: 10, request_ms: :infinity}, options)
    {:ok, state, data, actions} = Conveyor.init(options)
    # Without a pace: none but where a test sets one.
    event(Map.merge(c, %{state: state, data: put_elem(data, @pace, 0), first: actions}), :internal, :step)
  end

  defp event(c, type, content) do
    {:next_state, state, data, actions} = Conveyor.handle_event(type, content, c.state, c.data)
    Map.merge(c, %{state: state, data: data, actions: actions})
  end

  defp mark(c, ids) do
    for id <- List.wrap(ids), do: :ok = :convex_sidecar_marks.mark(c.name, :run_summary, id, c.source)
    event(c, :info, :wake)
  end

  defp answer(c, reply), do: event(c, :info, {:answer, reply})
  defp rested(c), do: event(c, :state_timeout, :rested)
  defp dirty(c), do: for({{{_, id}, _}} <- :ets.tab2list(c.info.dirty), do: id)
  defp hint(c, id), do: :convex_sidecar_instance.hint(c.info, {:run_summary, id})
  defp looks(c), do: for(row <- :ets.tab2list(c.info.looks), do: elem(elem(row, 1), 1))
  defp timer(c, name), do: Enum.find_value(c.actions, fn action -> match?({{:timeout, ^name}, _, _}, action) && elem(action, 1) end)
  defp pause(c), do: Enum.find_value(c.actions, fn action -> match?({:state_timeout, _, :rested}, action) && elem(action, 1) end)

  defp said(c, event) do
    name = c.name

    receive do
      {:log, level, %{event: ^event, instance: ^name}, _} -> [level | said(c, event)]
    after
      0 -> []
    end
  end

  test "it looks round at once, and for what has changed ten times in the time that is looked back" do
    refute Process.info(self(), :trap_exit) == {:trap_exit, true}
    c = start()
    assert Process.info(self(), :trap_exit) == {:trap_exit, true}
    assert c.first == [{:next_event, :internal, :step}]
    assert begin(c, %{look_back_ms: 0}).first == c.first
    assert [_, {{:timeout, :changes}, 500, 5000}] = begin(c, %{look_back_ms: 5000}).first
    assert [_, {{:timeout, :changes}, 1, 5}] = begin(c, %{look_back_ms: 5}).first
    # Of what was swept.
    :ok = :convex_sidecar_marks.mark_all(c.name, :run_summary, c.source)
    c = event(c, :info, :wake)
    assert_received {:ids, _}
    refute_received :changed_since
    c = event(c, {:timeout, :changes}, 5000)
    assert_received :changed_since
    assert timer(c, :changes) == 500
  end

  test "what is marked is handed over, settled by its answer, remembered, told, and looked at again" do
    c = start() |> mark("a")
    assert_received {:handed, ["a"]}
    assert c.state == :gathering
    assert %{dirty: 0, in_flight: 1} = :convex_sidecar_marks.backlog(c.name)
    c = answer(c, {:ok, [{:ok, %{write: "queued", reason: nil}}]})
    assert c.state == :dozing
    assert pause(c) == nil
    assert %{dirty: 0, in_flight: 0} = :convex_sidecar_marks.backlog(c.name)
    assert hint(c, "a") == 3
    assert_received {:told, "a", {:ok, %{write: "queued"}}}
    assert looks(c) == ["a"]
    assert timer(c, :look) in 0..200
    c = c |> mark(["b", "c"]) |> answer({:ok, [:ok, :ok]})
    assert {hint(c, "b"), hint(c, "c"), c.state} == {3, 3, :dozing}
    refute_received {:told, _, _}
    assert Enum.sort(looks(c)) == ~w(a b c)
    assert said(c, "conveyor.waiting") == []
  end

  test "what a sweep brings is looked at again only if it was before" do
    Process.put(:ids, ["a", "b"])
    c = start() |> mark("a") |> answer({:ok, [:ok]})
    :ok = :convex_sidecar_marks.mark_all(c.name, :run_summary, c.source)
    c = event(c, :info, :wake)
    assert_received {:handed, ["a", "b"]}
    c = answer(c, {:ok, [:ok, :ok]})
    assert looks(c) == ["a"]
  end

  test "only so many batches are under way as there is a window for" do
    c = start() |> mark("a") |> mark("b")
    assert_received {:handed, ["a"]}
    refute_received {:handed, _}
    c = answer(c, {:ok, [:ok]})
    assert_received {:handed, ["b"]}
    Process.put(:window, 2)
    c = c |> mark("c") |> mark("d")
    assert_received {:handed, ["c"]}
    refute_received {:handed, _}
    # What is under way wakes by its answer; batches of one have nothing that grows meanwhile.
    assert c.state == :gathering
    Process.put(:window, 3)
    one = start(%{batch_limit: 1}) |> mark("a")
    assert_received {:handed, ["a"]}
    assert one.state == :dozing
    two = start(%{batch_limit: 2}) |> mark("a")
    assert two.state == :gathering
  end

  test "a batch that is not full keeps the pace; a full one, a sweep, and nothing at all do not" do
    c = start(%{batch_limit: 2})
    c = %{c | data: put_elem(c.data, @pace, 60_000)}
    c = mark(c, ["a", "b"])
    assert_received {:handed, ["a", "b"]}
    c = answer(c, {:ok, [:ok, :ok]})
    assert {c.state, timer(c, :pace)} == {:dozing, nil}
    c = mark(c, "c")
    assert timer(c, :pace) in 50_000..60_000
    # Nobody who waits for the end is told that this is it.
    refute Enum.any?(event(c, {:call, {self(), make_ref()}}, :settle).actions, &match?({:reply, _, _}, &1))
    refute_received {:handed, _}
    c = mark(c, "d")
    assert_received {:handed, ["c", "d"]}
    c = answer(c, {:ok, [:ok, :ok]})
    Process.put(:ids, ["z"])
    :ok = :convex_sidecar_marks.mark_all(c.name, :run_summary, c.source)
    c = c |> event(:info, :wake)
    assert_received {:handed, ["z"]}
    c = c |> answer({:ok, [:ok]}) |> mark("e")
    refute_received {:handed, _}
    c = %{c | data: put_elem(c.data, @pace, 0)}
    event(c, {:timeout, :pace}, :pace)
    assert_received {:handed, ["e"]}
  end

  test "while the sidecar is away it rests, and when it is back it goes at once" do
    c = start()
    :convex_sidecar_instance.set_up(c.info, false)
    assert event(c, :info, :wake).state == :dozing
    c = mark(c, "a")
    assert c.state == :resting
    assert pause(c) in 25..75
    assert event(c, :info, :wake).state == :resting
    :convex_sidecar_instance.set_up(c.info, true)
    assert event(c, :info, {:convex_sidecar, :up}).state == :gathering
    assert_received {:handed, ["a"]}
  end

  test "what could not be handed over is dirty again, with one line a spell, after pauses that double to five seconds" do
    c = start()
    Process.put(:refuses, {:error, :noconnection})
    c = mark(c, "a")
    assert {dirty(c), c.state} == {["a"], :resting}
    assert pause(c) in 26..75

    {rests, c} = Enum.map_reduce(1..8, c, fn _, c -> with(c = rested(c), do: {elem(c.data, @rest), c}) end)
    assert rests == [200, 400, 800, 1600, 3200, 5000, 5000, 5000]
    assert pause(c) in 2501..7500
    assert said(c, "conveyor.waiting") == [:warning]
    # A new spell.
    c = event(c, :info, {:convex_sidecar, :up})
    assert elem(c.data, @rest) == 100
    assert said(c, "conveyor.waiting") == [:warning]
    Process.delete(:refuses)
    c = c |> rested() |> answer({:ok, [:ok]})
    assert elem(c.data, @rest) == 50
  end

  test "what passes is sent again after a pause: all of it when the batch failed, those when some of it did" do
    for reply <- [{:error, :busy}, {:error, :draining}, {:error, {:store, "full"}}, {:ok, [:ok]}, :nonsense] do
      c = start() |> mark(["a", "b"]) |> answer(reply)
      assert {reply, c.state, dirty(c)} == {reply, :resting, ["a", "b"]}
      assert pause(c) in 26..75
      assert said(c, "conveyor.waiting") == [:warning]
      assert hint(c, "a") == :unknown
    end

    c = start() |> mark(["a", "b"]) |> answer({:ok, [{:error, :busy}, :ok]})
    assert {c.state, dirty(c)} == {:resting, ["a"]}
    assert said(c, "conveyor.waiting") == [:warning]
    assert {hint(c, "a"), hint(c, "b")} == {:unknown, 3}
    c = rested(c)
    flush_handed()
    older = {:error, {:invalid, "opts.log_end", "there is no such option"}}
    c = answer(c, {:ok, [older]})
    assert {c.state, dirty(c)} == {:resting, ["a"]}
    refute_received {:told, _, {:error, _}}
  end

  defp flush_handed do
    receive do
      {:handed, _} -> flush_handed()
    after
      0 -> :ok
    end
  end

  test "an answer that comes while it rests does not make the pause longer, nor end it" do
    Process.put(:window, 2)
    c = start(%{batch_limit: 2}) |> mark(["a", "b"]) |> mark(["c", "d"])
    c = answer(c, {:error, :busy})
    assert pause(c)
    c = answer(c, {:ok, [{:error, :busy}, :ok]})
    assert {c.state, pause(c)} == {:resting, nil}
  end

  test "a batch that is refused as a whole is halved, one alone is given up, and the limit grows again" do
    ids = ~w(a b c d)
    c = start(%{batch_limit: 4}) |> mark(ids) |> answer({:error, :too_large})
    assert {elem(c.data, @limit), dirty(c), c.state} == {2, ids, :resting}
    assert said(c, "conveyor.waiting") == [:warning]
    c = c |> rested() |> answer({:error, :too_large}) |> rested()
    assert elem(c.data, @limit) == 1
    refute_received {:told, _, _}
    flush_handed()
    c = answer(c, {:error, :too_large})
    assert_received {:told, id, {:error, :too_large}}
    assert said(c, "conveyor.refused") == [:error]
    refute id in dirty(c)
    # It was no reason to rest.
    assert pause(c) == nil and c.state == :gathering
    c = answer(c, {:ok, [:ok]})
    assert elem(c.data, @limit) == 2
    c = answer(c, {:ok, [:ok, :ok]})
    assert elem(c.data, @limit) == 4
    # Something alone that passes is not given up.
    c = c |> mark("e") |> answer({:error, :busy})
    assert dirty(c) == ["e"]
  end

  test "more of its history: looked at again after each page, whatever the answer was like" do
    Process.put({:request, "a"}, more: true)
    c = start() |> mark("a")

    for reply <- [:ok, {:ok, %{reason: nil}}], reduce: c do
      c ->
        c = answer(c, {:ok, [reply]})
        assert_received {:handed, ["a"]}
        assert looks(c) == []
        c
    end
  end

  test "what may be another's row is looked at once more; what stands already is not" do
    c = start() |> mark("a") |> answer({:ok, [{:ok, %{reason: "idempotent"}}]})
    assert c.state == :dozing
    flush_handed()
    c = c |> mark("a") |> answer({:ok, [{:ok, %{reason: "summary_hash_mismatch"}}]})
    assert_received {:handed, ["a"]}
    assert_received {:handed, ["a"]}
    assert answer(c, {:ok, [:ok]}).state == :dozing
  end

  test "a log that is behind the sidecar: told, kept, and asked for again later, at last to go below" do
    c = start() |> mark(["a", "b"])
    behind = {:ok, %{reason: "checkpoint_ahead", write: "skipped"}}
    c = answer(c, {:ok, [behind, {:ok, %{reason: "checkpoint_ahead", write: "queued"}}]})
    assert_received {:told, "a", ^behind}
    assert hint(c, "a") == 3
    flush_handed()
    [{_, _, _, _, _, _, _, _, _, since}] = :ets.lookup(c.info.looks, {:run_summary, "a"})
    assert is_integer(since)
    assert [{_, _, _, _, _, _, _, _, _, :none}] = :ets.lookup(c.info.looks, {:run_summary, "b"})

    # Half a minute later, for one that has just begun.
    :ets.update_element(c.info.looks, {:run_summary, "a"}, [{4, 0}, {10, since - 40_000}])
    c = begin(c)
    Process.sleep(100)
    c = event(c, {:timeout, :look}, :look)
    assert_received {:handed, [{:below, "a"}]}
    c = answer(c, {:ok, [:ok]})
    # Once, and nobody else.
    mark(c, ["a", "b"])
    assert_received {:handed, ["a", "b"]}
  end

  test "one that goes below leaves the others of its batch as they are" do
    c = start() |> mark("a") |> answer({:ok, [{:ok, %{reason: "checkpoint_ahead", write: "skipped"}}]})
    [{_, _, _, _, _, _, _, _, _, since}] = :ets.lookup(c.info.looks, {:run_summary, "a"})
    :ets.update_element(c.info.looks, {:run_summary, "a"}, [{4, 0}, {10, since - 40_000}])
    c = begin(c)
    Process.sleep(100)
    flush_handed()
    :ok = :convex_sidecar_marks.mark(c.name, :run_summary, "b", c.source)
    event(c, {:timeout, :look}, :look)
    assert_received {:handed, [{:below, "a"}, "b"]}
  end

  test "a gap is filled three times in a row, and is then the log's own" do
    c = start() |> mark("a")
    gap = {:error, {:gap, 5, 9}}

    c =
      for _ <- 1..3, reduce: c do
        c ->
          c = answer(c, {:ok, [gap]})
          assert hint(c, "a") == 4
          assert_received {:handed, ["a"]}
          c
      end

    # An answer between them begins the count anew.
    c = answer(c, {:ok, [:ok]})
    c = mark(c, "a")
    c = for _ <- 1..3, reduce: c, do: (c -> answer(c, {:ok, [gap]}))
    refute_received {:told, _, _}
    c = answer(c, {:ok, [gap]})
    assert_received {:told, "a", {:error, {:gap, 5, 9}}}
    assert hint(c, "a") == :unknown
    assert {c.state, dirty(c)} == {:dozing, []}
    # And what expects the event before the first is nonsense.
    c |> mark("b") |> answer({:ok, [{:error, {:gap, 0, 9}}]})
    assert_received {:told, "b", {:error, {:gap, 0, 9}}}
  end

  test "what is gone, and what is refused for good, is told with a word, and forgotten" do
    Process.put({:request, "gone"}, :not_found)
    c = start() |> mark("gone")
    assert_received {:told, "gone", {:error, :not_found}}
    assert said(c, "conveyor.gone") == [:debug]
    assert c.state == :dozing
    refute_received {:handed, _}
    c = c |> mark(["a", "b"]) |> answer({:ok, [{:error, {:invalid, "x", "y"}}, :nonsense]})
    assert_received {:told, "a", {:error, {:invalid, "x", "y"}}}
    assert_received {:told, "b", {:error, :bad_reply}}
    assert said(c, "conveyor.refused") == [:error, :error]
    assert {c.state, dirty(c), looks(c)} == {:dozing, [], []}
  end

  test "an event log that raises: asked again after a second, doubling to thirty, and after one later all is well" do
    ill = fn -> raise "ill" end
    Process.put({:request, "a"}, ill)
    c = start() |> mark("a")
    assert said(c, "conveyor.source_failed") == [:error]
    assert {c.state, timer(c, :later)} == {:dozing, 1000}
    assert %{dirty: 0, in_flight: 1} = :convex_sidecar_marks.backlog(c.name)
    # While one is waited for there is one timer.
    Process.put({:request, "b"}, ill)
    c = mark(c, "b")
    assert timer(c, :later) == nil

    {pauses, c} = Enum.map_reduce(1..6, c, fn _, c -> with(c = event(c, {:timeout, :later}, :later), do: {timer(c, :later), c}) end)
    assert pauses == [2000, 4000, 8000, 16_000, 30_000, 30_000]
    # Something else that goes well does not make it shorter.
    c = c |> mark("c") |> answer({:ok, [:ok]})
    assert timer(event(c, {:timeout, :later}, :later), :later) == 30_000
    for id <- ~w(a b), do: Process.delete({:request, id})
    c = c |> event({:timeout, :later}, :later) |> answer({:ok, [:ok, :ok]})
    assert c.state == :dozing
    Process.put({:request, "a"}, ill)
    assert timer(mark(c, "a"), :later) == 1000
  end

  test "of a batch whose log raises three times the rest is left, and a pause is made" do
    ids = ~w(a b c d e)
    for id <- ids, do: Process.put({:request, id}, fn -> raise "ill" end)
    c = start() |> mark(ids)
    for id <- ~w(a b c), do: assert_received({:asked, ^id})
    refute_received {:asked, _}
    assert {c.state, dirty(c)} == {:resting, ~w(d e)}
    assert pause(c)
    # One that raises does not hold up the others.
    c = start()
    for id <- ~w(b c d e), do: Process.delete({:request, id})
    c = mark(c, ids)
    assert_received {:handed, ~w(b c d e)}
    assert c.state == :gathering
  end

  test "what is gone makes room for what waits, without a pause" do
    for id <- ~w(a b), do: Process.put({:request, id}, :not_found)
    mark(start(%{batch_limit: 2}), ~w(a b c))
    assert_received {:handed, ["c"]}
  end

  test "a batch has twenty thousand events; what is too much for it is the next one's" do
    Process.put({:request, "a"}, events: 19_999)
    c = start() |> mark(~w(a b c))
    assert_received {:handed, ["a", "b"]}
    assert dirty(c) == ["c"]
    answer(c, {:ok, [:ok, :ok]})
    assert_received {:handed, ["c"]}
  end

  test "what was read together is not asked for; a log that cannot is asked one by one" do
    Process.put(:read_ahead, fn marks -> for {{_, "a"}, _} = mark <- marks, into: %{}, do: {mark, :not_found} end)
    c = start() |> mark(["a", "b"])
    assert_received {:handed, ["b"]}
    assert_received {:told, "a", {:error, :not_found}}
    assert_received {:asked, "b"}
    refute_received {:asked, "a"}
    c = answer(c, {:ok, [:ok]})
    Process.put(:read_ahead, fn _ -> raise "ill" end)
    c = mark(c, ["a", "b"])
    assert_received {:handed, ["a", "b"]}
    assert said(c, "conveyor.source_failed") == [:error]
  end

  defmodule Alone do
    @moduledoc "Hands that read one at a time."
    @behaviour :convex_sidecar_conveyor
    @impl true
    defdelegate window, to: Hands
    @impl true
    defdelegate request(mark, info), to: Hands
    @impl true
    defdelegate hand_over(name, requests), to: Hands
    @impl true
    defdelegate answer(message, ref), to: Hands
  end

  test "who cannot read together is not asked to" do
    c = start(%{hand_over: Alone}) |> mark(["a", "b"])
    assert_received {:handed, ["a", "b"]}
    assert said(c, "conveyor.source_failed") == []
  end

  test "who waits for all to be done is told when it is: not while anything is under way, waits, or rests" do
    from = {self(), make_ref()}
    done? = fn c -> {:reply, from, :ok} in c.actions end
    c = start()
    assert done?.(event(c, {:call, from}, :settle))
    c = mark(c, "a")
    c = event(c, {:call, from}, :settle)
    refute done?.(c)
    busy = answer(c, {:error, :busy})
    assert busy.state == :resting
    refute done?.(busy)
    c = rested(busy)
    refute done?.(c)
    c = answer(c, {:ok, [:ok]})
    assert done?.(c)
    refute done?.(event(c, :info, :wake))
    Process.put({:request, "a"}, fn -> raise "ill" end)
    c = c |> mark("a") |> event({:call, from}, :settle)
    refute done?.(c)
    Process.delete({:request, "a"})
    assert done?.(c |> event({:timeout, :later}, :later) |> answer({:ok, [:ok]}))
    # Resting with nothing left is no end of the rest.
    :convex_sidecar_instance.set_up(c.info, false)
    c = c |> mark("b")
    :ets.delete_all_objects(c.info.dirty)
    refute done?.(event(c, {:call, from}, :settle))
  end

  test "what it does not know is answered, or let be" do
    c = start()
    from = {self(), make_ref()}
    assert {:reply, from, {:error, :bad_request}} in event(c, {:call, from}, :nonsense).actions
    assert event(c, :cast, :nonsense).state == c.state
    assert event(c, :info, :nonsense).state == c.state
  end

  test "an answer has its time; one that comes too late reaches nobody" do
    ref = make_ref()
    Process.put(:ref, ref)
    c = start(%{request_ms: 70}) |> mark("a")
    assert timer(c, {:silent, ref}) == 70
    answered = answer(c, {:ok, [:ok]})
    assert {{:timeout, {:silent, ref}}, :cancel} in answered.actions
    send(self(), {[:alias | ref], {:ok, [:ok]}})
    c = event(c, {:timeout, {:silent, ref}}, :silent)
    refute_received {[:alias | ^ref], _}
    assert {c.state, dirty(c)} == {:resting, ["a"]}
    assert timer(start() |> mark("a"), {:silent, ref}) == nil
  end

  test "who asks for a look while a batch is gathered is heard before it dozes" do
    c = start()
    other = {{:run_summary, "other"}, c.source}

    Process.put({:request, "a"}, fn ->
      :ok = :convex_sidecar_looks.ask(c.name, other, 5, false)
      :not_found
    end)

    c = mark(c, "a")
    assert c.state == :dozing
    assert :ets.info(c.info.asked, :size) == 0
    assert looks(c) == ["other"]
  end

  describe "a look" do
    # One that is due in a conveyor that has just begun.
    defp due(options \\ %{}) do
      c = start(options) |> mark("a") |> answer({:ok, [:ok]})
      :ets.update_element(c.info.looks, {:run_summary, "a"}, {4, 0})
      c = begin(c)
      Process.sleep(100)
      flush_handed()
      c
    end

    defp slot(c), do: :ets.lookup_element(c.info.looks, {:run_summary, "a"}, 4)

    test "that finds another row marks it, and one that finds the same does not" do
      c = due()
      before = slot(c)
      c = event(c, {:timeout, :look}, :look)
      refute_received {:handed, _}
      assert slot(c) > before + 10
      c = due()
      Process.put({:request, "a"}, seen: 8)
      event(c, {:timeout, :look}, :look)
      assert_received {:handed, ["a"]}
    end

    test "waits while it rests, the sidecar is away, or the entity is on its way" do
      c = due()
      Process.put({:request, "a"}, seen: 8)
      :convex_sidecar_instance.set_up(c.info, false)
      away = event(c, {:timeout, :look}, :look)
      assert dirty(away) == []
      Process.delete({:request, "a"})
      c = due()
      Process.put({:request, "a"}, seen: 8)
      resting = event(%{c | state: :resting}, {:timeout, :look}, :look)
      assert {dirty(resting), resting.state} == {[], :resting}
      Process.delete({:request, "a"})
      c = due() |> mark("a")
      Process.put({:request, "a"}, seen: 8)
      assert_received {:handed, ["a"]}
      c = event(c, {:timeout, :look}, :look)
      assert dirty(c) == []
    end

    test "at a log that raises says so, and comes again" do
      c = due()
      before = slot(c)
      Process.put({:request, "a"}, fn -> raise "ill" end)
      c = event(c, {:timeout, :look}, :look)
      assert said(c, "conveyor.source_failed") == [:error]
      assert dirty(c) == []
      assert slot(c) > before + 10
    end

    test "of which there were too many leads to all of the kind, once there is room" do
      c = start(%{dirty_limit: 2}) |> mark("a") |> answer({:ok, [:ok]}) |> mark("b") |> answer({:ok, [:ok]})
      c = c |> mark("c") |> answer({:ok, [:ok]})
      assert looks(c) == ["a", "b"] or looks(c) == ["b", "a"]
      refute_received {:ids, _}
      c = event(c, {:timeout, :look}, :look)
      refute_received {:ids, _}
      :ets.delete_all_objects(c.info.looks)
      event(c, {:timeout, :look}, :look)
      assert_received {:ids, :undefined}
    end
  end

  test "at its end it hands over what is left, and says what it could not" do
    c = start()
    :ok = :convex_sidecar_marks.mark(c.name, :run_summary, "a", c.source)
    send(self(), {:answer, {:ok, [:ok]}})
    assert Conveyor.terminate(:shutdown, c.state, c.data) == :ok
    assert_received {:handed, ["a"]}
    assert said(c, "conveyor.unsent") == []
    c = start()
    Process.put(:refuses, {:error, :noconnection})
    :ok = :convex_sidecar_marks.mark(c.name, :run_summary, "a", c.source)
    Conveyor.terminate(:shutdown, c.state, c.data)
    assert said(c, "conveyor.unsent") == [:warning]
  end
end
