defmodule ConvexSidecar.ConveyorTest do
  use SidecarCase, async: true

  setup do
    %{log: MemoryLog.new()}
  end

  defp mark(name, log, id), do: :ok = :convex_sidecar.project_async(name, :run_summary, id, log)
  defp settle(name), do: :ok = :convex_sidecar.settle(name, 10_000)
  defp folded(fake, id), do: FakeSidecar.documents(fake)["runtime/run_summary:#{id}"][:folded]

  defp sizes(fake) do
    for {:batch, requests} <- FakeSidecar.requests(fake), do: length(requests)
  end

  defp sent(fake, id) do
    for {:batch, requests} <- FakeSidecar.requests(fake),
        {:project, _, ^id, _, events, _} <- requests,
        do: Enum.map(events, & &1.seq)
  end

  test "a marked entity is projected, and only what is new goes over, with the event before it", %{log: log} do
    {name, fake} = start_fake()
    MemoryLog.add(log, "a", 3)
    mark(name, log, "a")
    settle(name)
    assert folded(fake, "a") == 3
    MemoryLog.append(log, "a", 2)
    mark(name, log, "a")
    settle(name)
    assert List.last(sent(fake, "a")) == [3, 4, 5]
    assert_received {:done, :run_summary, "a", {:ok, %{seq: 5, lag_events: 2}}}
    # Payloads stay in the VM.
    {:batch, [{:project, _, _, _, [event | _], _}]} = hd(FakeSidecar.requests(fake))
    assert Enum.sort(Map.keys(event)) == [:event_type, :inserted_at, :seq]
  end

  test "a program that is older than this package is asked without what it does not know, and nothing is lost", %{log: log} do
    watch_log()
    {name, fake} = start_fake()
    refused = {:error, {:invalid, "opts.log_end", "there is no such option"}}

    FakeSidecar.script(fake, [
      fn {:batch, requests} -> {:ok, for({:project, _, _, _, _, %{log_end: _}} <- requests, do: refused)} end
    ])

    MemoryLog.add(log, "a", 3)
    mark(name, log, "a")
    settle(name)
    assert folded(fake, "a") == 3
    assert_receive {:log, :warning, %{event: "sidecar.older", instance: ^name}, text}
    assert text =~ "log_end"
    {:batch, [{:project, _, "a", _, _, options}]} = List.last(FakeSidecar.requests(fake))
    refute Map.has_key?(options, :log_end)
    # The call's form knows it, too, and hears it by itself as well.
    MemoryLog.append(log, "a", 1)
    assert {:ok, %{seq: 4}} = :convex_sidecar_source.project(name, log, :run_summary, "a", %{})
    {:project, _, "a", _, _, options} = List.last(FakeSidecar.requests(fake))
    refute Map.has_key?(options, :log_end)
    :convex_sidecar_instance.set_up(elem(:convex_sidecar_instance.lookup(name), 1), true)
    FakeSidecar.script(fake, [fn {:project, _, _, _, _, %{log_end: 5}} -> refused end])
    MemoryLog.append(log, "a", 1)
    assert {:ok, %{seq: 5}} = :convex_sidecar_source.project(name, log, :run_summary, "a", %{})
  end

  test "what is marked while a batch is under way is one batch, one entry an entity", %{log: log} do
    {name, fake} = start_fake()
    for i <- 1..50, do: MemoryLog.add(log, "r#{i}", 1)
    FakeSidecar.script(fake, [:silent])
    mark(name, log, "r1")
    wait_until(fn -> sizes(fake) == [1] end)
    for _ <- 1..20, i <- 2..50, do: mark(name, log, "r#{i}")
    assert %{dirty: 49, in_flight: 1} = :convex_sidecar.backlog(name)
    FakeSidecar.wake(fake, {:ok, [{:ok, %{seq: 1, reason: nil}}]})
    settle(name)
    assert sizes(fake) == [1, 49]
    assert %{dirty: 0, in_flight: 0, sweeps: 0} = :convex_sidecar.backlog(name)
  end

  test "batches that are not full keep a pace: five milliseconds from one to the next", %{log: log} do
    {name, fake} = start_fake()
    for i <- 1..100, do: MemoryLog.add(log, "r#{i}", 1)
    began = System.monotonic_time(:millisecond)
    # Traffic: a mark every other millisecond, which without a pace is a batch each.
    for i <- 1..100, do: mark(name, log, "r#{i}") && :timer.sleep(1)
    settle(name)
    took_ms = System.monotonic_time(:millisecond) - began
    assert Enum.sum(sizes(fake)) == 100
    assert length(sizes(fake)) <= div(took_ms, 5) + 2
  end

  defmodule Quiet do
    @moduledoc "The log as a source that does not ask what became of an entity."
    @behaviour :convex_sidecar_source
    @impl true
    defdelegate row(kind, id, arg), to: MemoryLog
    @impl true
    defdelegate events_after(kind, id, seq, limit, arg), to: MemoryLog
    @impl true
    defdelegate ids(kind, after_id, limit, arg), to: MemoryLog
  end

  test "a source that asks for no result gets none, and all the rest goes on as ever", %{log: {_, arg} = log} do
    {name, fake} = start_fake()
    MemoryLog.add(log, "a", 10)
    MemoryLog.add(log, "b", 3)
    for id <- ["a", "b"], do: mark(name, {Quiet, arg}, id)
    settle(name)
    assert {folded(fake, "a"), folded(fake, "b")} == {10, 3}
    MemoryLog.append(log, "a", 1)
    mark(name, {Quiet, arg}, "a")
    settle(name)
    assert List.last(sent(fake, "a")) == [10, 11]
    for {:batch, requests} <- FakeSidecar.requests(fake), {:project, _, _, _, _, opts} <- requests, do: assert(opts.return == :none)
    assert %{dirty: 0, in_flight: 0} = :convex_sidecar.backlog(name)
    refute_received {:done, _, _, _}
    mark(name, log, "b")
    settle(name)
    assert_received {:done, :run_summary, "b", {:ok, %{reason: "idempotent", seq: 3}}}
  end

  test "a batch has at most batch_limit entities", %{log: log} do
    {name, fake} = start_fake(batch_limit: 10)
    for i <- 1..35, do: MemoryLog.add(log, "r#{i}", 1)
    FakeSidecar.script(fake, [:silent])
    mark(name, log, "r1")
    wait_until(fn -> sizes(fake) == [1] end)
    for i <- 2..35, do: mark(name, log, "r#{i}")
    FakeSidecar.wake(fake, {:ok, [{:ok, %{seq: 1, reason: nil}}]})
    settle(name)
    assert sizes(fake) == [1, 10, 10, 10, 4]
  end

  test "a wrong guess is put right by the gap", %{log: log} do
    {name, fake} = start_fake()
    MemoryLog.add(log, "a", 10)
    mark(name, log, "a")
    settle(name)
    assert sent(fake, "a") == [[10], Enum.to_list(1..10)]
    assert folded(fake, "a") == 10
  end

  test "a sidecar that lost its store is given everything again", %{log: log} do
    {name, fake} = start_fake()
    MemoryLog.add(log, "a", 3)
    mark(name, log, "a")
    settle(name)
    stop_supervised!(fake)
    start_supervised!({FakeSidecar, fake}, id: fake)
    MemoryLog.append(log, "a", 1)
    mark(name, log, "a")
    settle(name)
    assert folded(fake, "a") == 4
  end

  test "a row that is ahead of its events is read from the beginning", %{log: log} do
    {name, fake} = start_fake()
    MemoryLog.add(log, "a", 3)
    MemoryLog.update(log, "a", %{latest_seq: 9})
    mark(name, log, "a")
    settle(name)
    assert sent(fake, "a") == [[1, 2, 3]]
  end

  test "a hole in the log itself is given up, with a word", %{log: log} do
    {name, fake} = start_fake()
    MemoryLog.add(log, "a", 2)
    mark(name, log, "a")
    settle(name)
    MemoryLog.append(log, "a", 3)
    MemoryLog.lose(log, "a", 3)
    mark(name, log, "a")
    settle(name)
    assert_received {:done, :run_summary, "a", {:error, {:gap, 3, 4}}}
    assert length(sent(fake, "a")) <= 7
  end

  test "a log that begins later is taken as it is: pruned, never seen, or with nothing at first", %{log: log} do
    {name, fake} = start_fake()
    # Events 3 to 5, and a store that never saw the run.
    MemoryLog.add(log, "new", 5)
    for seq <- 1..2, do: MemoryLog.lose(log, "new", seq)
    # Events 1 and 2 were folded, 3 and 4 were pruned unseen.
    MemoryLog.add(log, "seen", 2)
    # A row that says 5, and has no event; then comes the sixth.
    MemoryLog.add(log, "bare", 0, %{latest_seq: 0})
    MemoryLog.update(log, "bare", %{latest_seq: 5})
    for id <- ~w(new seen bare), do: mark(name, log, id)
    settle(name)
    assert %{folded: 5, count: 3} = FakeSidecar.documents(fake)["runtime/run_summary:new"]
    MemoryLog.append(log, "seen", 4)
    for seq <- 1..4, do: MemoryLog.lose(log, "seen", seq)
    MemoryLog.append(log, "bare", 1)
    for id <- ~w(new seen bare), do: mark(name, log, id)
    settle(name)
    documents = FakeSidecar.documents(fake)
    assert %{folded: 6, count: 2} = documents["runtime/run_summary:seen"]
    assert %{folded: 6, count: 1} = documents["runtime/run_summary:bare"]
    assert %{folded: 5, count: 3} = documents["runtime/run_summary:new"]
    # From then on it goes on as ever.
    MemoryLog.append(log, "seen", 1)
    mark(name, log, "seen")
    settle(name)
    assert List.last(sent(fake, "seen")) == [6, 7]
    refute_received {:done, _, _, {:error, _}}
  end

  test "an event in the place of the one that was folded takes it", %{log: log} do
    {name, fake} = start_fake()
    MemoryLog.add(log, "a", 3)
    mark(name, log, "a")
    settle(name)
    MemoryLog.replace(log, "a", 3, "run.other")
    mark(name, log, "a")
    settle(name)
    assert %{folded: 3, count: 3, events: %{3 => {"run.other", _}}} = FakeSidecar.documents(fake)["runtime/run_summary:a"]
  end

  test "a log that lost events and went on otherwise is followed at once", %{log: log} do
    {name, fake} = start_fake()
    MemoryLog.add(log, "a", 2)
    mark(name, log, "a")
    settle(name)
    MemoryLog.append(log, "a", 3)
    mark(name, log, "a")
    settle(name)
    for seq <- 3..5, do: MemoryLog.lose(log, "a", seq)
    MemoryLog.update(log, "a", %{latest_seq: 2})
    MemoryLog.append(log, "a", 1)
    MemoryLog.replace(log, "a", 3, "run.other")
    mark(name, log, "a")
    settle(name)
    assert %{folded: 3, count: 3, events: %{3 => {"run.other", _}}} = FakeSidecar.documents(fake)["runtime/run_summary:a"]
  end

  test "a long history goes in pages", %{log: log} do
    {name, fake} = start_fake()
    MemoryLog.add(log, "a", 12_000)
    mark(name, log, "a")
    settle(name)
    assert folded(fake, "a") == 12_000
    assert Enum.map(sent(fake, "a"), &length/1) == [1, 5000, 5000, 2002]
  end

  test "busy, draining, store, timeout: nothing is lost", %{log: log} do
    for answer <- [
          {:error, :busy},
          {:error, :draining},
          {:error, {:store, :full}},
          {:ok, [{:error, :busy}]},
          {:ok, []},
          :nonsense,
          :silent
        ] do
      {name, fake} = start_fake(request_ms: 100)
      FakeSidecar.script(fake, [answer])
      MemoryLog.add(log, "a", 1)
      mark(name, log, "a")
      settle(name)
      assert folded(fake, "a") == 1, inspect(answer)
      assert sizes(fake) == [1, 1]
    end
  end

  test "what is refused for good is told and forgotten, the others go through", %{log: log} do
    watch_log()
    {name, fake} = start_fake()
    for id <- ~w(a b c), do: MemoryLog.add(log, id, 1)

    FakeSidecar.script(fake, [
      :silent,
      fn {:batch, [_, _, _]} ->
        {:ok, [{:ok, %{reason: nil}}, {:error, {:invalid, "x", "y"}}, {:ok, %{reason: nil}}]}
      end
    ])

    MemoryLog.add(log, "0", 1)
    mark(name, log, "0")
    wait_until(fn -> sizes(fake) == [1] end)
    for id <- ~w(a b c), do: mark(name, log, id)

    said =
      ExUnit.CaptureLog.capture_log(fn ->
        FakeSidecar.wake(fake, {:ok, [{:ok, %{reason: nil}}]})
        settle(name)
      end)

    assert said =~ ~s(kind=run_summary id=b reason={invalid,<<"x">>,<<"y">>}\n)
    assert_received {:done, :run_summary, "b", {:error, {:invalid, "x", "y"}}}
    assert_received {:log, :error, %{event: "conveyor.refused", instance: ^name}, _}
    assert sizes(fake) == [1, 3]
  end

  test "a batch that is refused as a whole is halved until the culprit is found", %{log: log} do
    {name, fake} = start_fake(batch_limit: 8)
    for i <- 1..8, do: MemoryLog.add(log, "r#{i}", 1)

    poison = fn {:batch, requests} = batch ->
      if Enum.any?(requests, &(elem(&1, 2) == "r5")),
        do: {:error, :too_large},
        else: {:ok, Enum.map(elem(batch, 1), fn _ -> {:ok, %{reason: nil}} end)}
    end

    FakeSidecar.script(fake, [:silent | List.duplicate(poison, 60)])
    MemoryLog.add(log, "0", 1)
    mark(name, log, "0")
    wait_until(fn -> sizes(fake) == [1] end)
    for i <- 1..8, do: mark(name, log, "r#{i}")
    FakeSidecar.wake(fake, {:ok, [{:ok, %{reason: nil}}]})
    settle(name)
    for i <- [1, 2, 3, 4, 6, 7, 8], do: assert_received({:done, _, _, {:ok, _}}, "r#{i}")
    assert_received {:done, :run_summary, "r5", {:error, :too_large}}
  end

  test "an entity that is gone is told", %{log: log} do
    {name, _fake} = start_fake()
    mark(name, log, "nobody")
    settle(name)
    assert_received {:done, :run_summary, "nobody", {:error, :not_found}}
  end

  test "an event log that fails for one entity does not hold up the others", %{log: log} do
    {name, fake} = start_fake()
    for id <- ~w(bad good), do: MemoryLog.add(log, id, 1)
    MemoryLog.fail(log, "bad", true)
    mark(name, log, "bad")
    mark(name, log, "good")
    wait_until(fn -> folded(fake, "good") == 1 and :convex_sidecar.backlog(name).in_flight == 1 end)
    MemoryLog.fail(log, "bad", false)
    settle(name)
    assert folded(fake, "bad") == 1
  end

  test "while the sidecar is away marks are kept, and sent when it is back", %{log: log} do
    peer_name = :"peer_#{unique()}"
    start = fn -> start_fake_node(peer_name) end
    {peer, node} = start.()

    name =
      start_instance(
        name: unique_name(),
        mode: :external,
        node: node,
        registered_name: :fake,
        cookie: :conveyor
      )

    :ok = :convex_sidecar.await(name, 5000)
    MemoryLog.add(log, "a", 1)
    mark(name, log, "a")
    settle(name)
    :peer.stop(peer)
    wait_until(fn -> :convex_sidecar_instance.destination(name) == :down end)
    for i <- 1..600, do: MemoryLog.add(log, "r#{i}", 1)
    for i <- 1..600, do: mark(name, log, "r#{i}")
    assert :convex_sidecar.settle(name, 100) == {:error, :timeout}
    assert %{dirty: 600} = :convex_sidecar.backlog(name)
    {peer, ^node} = start.()
    settle(name)
    assert map_size(:peer.call(peer, FakeSidecar, :documents, [:fake])) == 600
    :peer.stop(peer)
  end

  defp start_fake_node(name) do
    paths = Enum.flat_map(:code.get_path(), &[~c"-pa", &1])
    args = [~c"-setcookie", ~c"conveyor", ~c"-hidden"] ++ paths

    options = %{
      name: name,
      host: ~c"127.0.0.1",
      longnames: true,
      connection: :standard_io,
      args: args
    }

    {:ok, peer, node} = :peer.start(options)
    {:ok, _pid} = :peer.call(peer, GenServer, :start, [FakeSidecar, nil, [name: :fake]])
    {peer, node}
  end

  test "too many marks: all ids of the source are looked at instead", %{log: log} do
    watch_log()
    {name, fake} = start_fake(dirty_limit: 5)
    FakeSidecar.script(fake, [:silent])
    for i <- 1..2500, do: MemoryLog.add(log, "r#{i}", 1)
    mark(name, log, "r1")
    wait_until(fn -> sizes(fake) == [1] end)
    for i <- 2..2500, do: mark(name, log, "r#{i}")
    assert %{dirty: 5, sweeps: 1} = :convex_sidecar.backlog(name)
    FakeSidecar.wake(fake, {:ok, [{:ok, %{reason: nil}}]})
    settle(name)
    assert map_size(FakeSidecar.documents(fake)) == 2500
    assert_received {:log, :warning, %{event: "conveyor.sweep", instance: ^name}, _}
    assert_received {:log, :info, %{event: "conveyor.swept", instance: ^name}, _}
  end

  test "project_all_async looks at everything; a source that fails then is asked again", %{log: log} do
    watch_log()
    {name, fake} = start_fake()
    for i <- 1..10, do: MemoryLog.add(log, "r#{i}", 2)
    MemoryLog.fail(log, :all, true)
    assert :convex_sidecar.project_all_async(name, :run_summary, log) == :ok
    assert_receive {:log, :error, %{event: "conveyor.source_failed", instance: ^name}, _}, 5000
    wait_until(fn -> :convex_sidecar.backlog(name) == %{dirty: 0, in_flight: 0, sweeps: 1} end)
    # It is asked again and again, and said once in ten seconds.
    tried = MemoryLog.failures(log)
    wait_until(fn -> MemoryLog.failures(log) > tried end)
    refute_received {:log, :error, %{event: "conveyor.source_failed", instance: ^name}, _}
    MemoryLog.fail(log, :all, false)
    settle(name)
    assert map_size(FakeSidecar.documents(fake)) == 10
    assert :convex_sidecar.backlog(name) == %{dirty: 0, in_flight: 0, sweeps: 0}
  end

  test "an instance that is stopped has no backlog, and takes no mark", %{log: log} do
    {name, _fake} = start_fake()
    :ok = stop_supervised(name)
    assert :convex_sidecar.project_async(name, :run_summary, "a", log) == {:error, :unavailable}
    assert :convex_sidecar.backlog(name) == %{dirty: 0, in_flight: 0, sweeps: 0}
  end

  test "a conveyor that crashes loses nothing, not even what was in flight", %{log: log} do
    {name, fake} = start_fake()
    FakeSidecar.script(fake, [:silent])
    for id <- ~w(a b), do: MemoryLog.add(log, id, 1)
    mark(name, log, "a")
    wait_until(fn -> sizes(fake) == [1] end)
    mark(name, log, "b")
    name |> :convex_sidecar_instance.conveyor_name() |> Process.whereis() |> Process.exit(:kill)
    wait_until(fn -> folded(fake, "a") == 1 and folded(fake, "b") == 1 end)
  end

  test "marks from many processes, while batches are under way, all arrive", %{log: log} do
    {name, fake} = start_fake(batch_limit: 16)
    ids = for i <- 1..40, do: "r#{i}"
    for id <- ids, do: MemoryLog.add(log, id, 0)

    1..8
    |> Enum.map(fn w ->
      Task.async(fn ->
        for _ <- 1..40, id <- Enum.drop(ids, (w - 1) * 5) |> Enum.take(5) do
          MemoryLog.append(log, id, 1)
          mark(name, log, id)
        end
      end)
    end)
    |> Task.await_many(20_000)

    settle(name)
    for id <- ids, do: assert(folded(fake, id) == 40)
  end

  test "a mark costs the caller few reductions, and nothing when there is no instance", %{log: log} do
    {name, fake} = start_fake()
    FakeSidecar.script(fake, [:silent])
    mark(name, log, "0")
    {:reductions, before} = Process.info(self(), :reductions)
    for i <- 1..10_000, do: mark(name, log, "r#{i}")
    {:reductions, later} = Process.info(self(), :reductions)
    assert (later - before) / 10_000 < 300
    assert :convex_sidecar.project_async(:no_such, :run_summary, "a", log) == {:error, :unavailable}
    stop_supervised!(name)
    assert :convex_sidecar.project_async(name, :run_summary, "a", log) == {:error, :unavailable}
  end

  test "an orderly end hands over what is left", %{log: log} do
    {name, fake} = start_fake()
    for i <- 1..300, do: MemoryLog.add(log, "r#{i}", 1)
    FakeSidecar.script(fake, [:silent])
    mark(name, log, "r1")
    wait_until(fn -> sizes(fake) == [1] end)
    for i <- 1..300, do: mark(name, log, "r#{i}")
    conveyor = name |> :convex_sidecar_instance.conveyor_name() |> Process.whereis()
    pushing = {:current_function, {:convex_sidecar_conveyor, :last_push, 2}}

    waker =
      Task.async(fn ->
        wait_until(fn -> Process.info(conveyor, :current_function) == pushing end)
        FakeSidecar.wake(fake, {:ok, [{:ok, %{reason: nil}}]})
      end)

    stop_supervised!(name)
    Task.await(waker)
    assert map_size(FakeSidecar.documents(fake)) == 300
  end

  test "another row with the same events is looked at once more", %{log: log} do
    {name, fake} = start_fake()
    MemoryLog.add(log, "a", 1)
    mark(name, log, "a")
    settle(name)
    MemoryLog.update(log, "a", %{status: "finished"})
    mark(name, log, "a")
    settle(name)
    assert_received {:done, _, "a", {:ok, %{reason: "summary_hash_mismatch"}}}
    assert_received {:done, _, "a", {:ok, %{reason: "idempotent"}}}
    assert length(sizes(fake)) == 3
  end

  # Hands over as the test says.
  defmodule Hands do
    @moduledoc false
    @behaviour :convex_sidecar_conveyor
    @impl true
    def window, do: 1
    @impl true
    def request({{_, id}, _}, _info), do: {:ok, %{request: id, last: 1, more: false, events: 1}}

    @impl true
    def hand_over(name, requests) do
      send(:persistent_term.get({__MODULE__, name}), {:handed, requests, System.monotonic_time(:millisecond)})
      :persistent_term.get({__MODULE__, name, :answer})
    end

    @impl true
    def answer({:answer, ref, reply}, ref), do: {:reply, reply}
    def answer(_message, _ref), do: :no
  end

  defp start_hands(answer, options \\ %{}) do
    name = unique_name("hands")
    info = :convex_sidecar_instance.open(name, %{dest: {:nobody, node()}, dirty_limit: 100, hint_limit: 100})
    :convex_sidecar_instance.set_up(info, true)
    :persistent_term.put({Hands, name}, self())
    :persistent_term.put({Hands, name, :answer}, answer)
    options = Map.merge(%{name: name, hand_over: Hands, batch_limit: 10, request_ms: :infinity}, options)
    conveyor = start_supervised!(%{id: name, start: {:convex_sidecar_conveyor, :start_link, [options]}})

    on_exit(fn ->
      :convex_sidecar_instance.close(name)
      for key <- [{Hands, name}, {Hands, name, :answer}], do: :persistent_term.erase(key)
    end)

    {name, conveyor}
  end

  test "a batch that could not be handed over is dirty again, and sent after pauses that double", %{log: log} do
    {name, conveyor} = start_hands({:error, :noconnection})
    mark(name, log, "a")
    times = for _ <- 1..5, do: assert_receive({:handed, ["a"], at}, 5000) && at
    pauses = Enum.zip_with(tl(times), times, &(&1 - &2))
    # 50 to 5000 ms, each half as long or half as long again
    for {pause, i} <- Enum.with_index(pauses), do: assert(pause >= 25 * 2 ** i, "#{inspect(pauses)}")
    assert %{dirty: 1, in_flight: 0} = :convex_sidecar.backlog(name)
    # When the sidecar is back it goes at once, and the pauses begin anew.
    send(conveyor, {:convex_sidecar, :up})
    assert_receive {:handed, ["a"], up}, 300
    assert_receive {:handed, ["a"], next}, 300
    assert next - up <= 150
    :persistent_term.put({Hands, name, :answer}, {:ok, ref = make_ref()})
    assert_receive {:handed, ["a"], _}, 5000
    send(conveyor, {:answer, ref, {:ok, [:ok]}})
    settle(name)
    assert %{dirty: 0, in_flight: 0} = :convex_sidecar.backlog(name)
  end

  test "a log that is ill for several is not asked for all the others of the batch", %{log: log} do
    {name, fake} = start_fake()
    FakeSidecar.script(fake, [:silent])
    for i <- 0..30, do: MemoryLog.add(log, "r#{i}", 1)
    mark(name, log, "r0")
    wait_until(fn -> sizes(fake) == [1] end)
    MemoryLog.fail(log, :all, true)
    for i <- 1..30, do: mark(name, log, "r#{i}")
    FakeSidecar.wake(fake, {:ok, [{:ok, %{seq: 1, reason: nil}}]})
    # Those that were not asked for are free to be taken when it is well.
    wait_until(fn -> with(%{in_flight: later, dirty: dirty} <- :convex_sidecar.backlog(name), do: later in 3..9 and later + dirty == 30) end)

    MemoryLog.fail(log, :all, false)
    settle(name)
    assert map_size(FakeSidecar.documents(fake)) == 30
  end
end
