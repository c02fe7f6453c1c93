defmodule ConvexSidecar.StateClockTest do
  @moduledoc """
  What keeps the state, and what sweeps, without processes: the test calls them with messages, and is itself the sidecar
  that they ask.
  """
  use SidecarCase, async: true

  alias :convex_sidecar_instance, as: Instance
  alias :convex_sidecar_state, as: State
  alias :convex_sidecar_sweeper, as: Sweeper

  @moduletag :capture_log

  setup do
    watch_log()
    fake = unique_name("sidecar")
    Process.register(self(), fake)
    name = unique_name("state")
    info = Instance.open(name, %{dest: {fake, node()}, dirty_limit: 10, hint_limit: 10})
    on_exit(fn -> Instance.close(name) end)
    %{name: name, info: info}
  end

  # What was asked of the sidecar last, and the reference of its answer.
  defp asked do
    assert_received {:"$gen_call", {_, [:alias | ref]}, request}
    {request, ref}
  end

  defp said(name) do
    receive do
      {:log, level, %{event: event, instance: ^name}, _} -> [{event, level} | said(name)]
    after
      0 -> []
    end
  end

  # ---- the state

  defmodule Told do
    @moduledoc "Is told of each change, in the test's own process."
    def changed(name, change), do: send(self(), {:changed, name, change})
  end

  defp begin(c, mode) do
    {:ok, state} = State.init(%{name: c.name, mode: mode, changed: Told})
    state
  end

  defp info(state, message), do: with({:noreply, state} <- State.handle_info(message, state), do: state)
  defp cast(state, message), do: with({:noreply, state} <- State.handle_cast(message, state), do: state)
  defp cause(event), do: {:down, {:warning, event, "why", "what to do"}}

  @well %{state: "running", why: "", next: "", store_ok: true, kinds: [], mending: nil}

  # What it asked is answered so; it asks for what comes after that.
  defp answered(state, stand) do
    {{:changes, seen}, ref} = asked()
    info(state, {[:alias | ref], {:ok, Map.merge(@well, Map.put(stand, :number, seen + 1))}})
  end

  defp changed do
    receive do
      {:changed, _, %{scope: scope, kind: kind, was: was, state: is}} -> [{kind || scope, was, is} | changed()]
    after
      0 -> []
    end
  end

  test "what of the program's log is said here, with what to do" do
    for event <- ~w(dispatch.running dispatch.waiting dispatch.stopped dispatch.kind sweep.mended), do: assert(State.is_told(event), event)
    refute State.is_told("dispatch.other")
  end

  test "one that begins while the sidecar is up asks it; else it waits to be told", c do
    begin(c, :external)
    refute_received {:convex_sidecar, :up}

    assert %{sidecar: %{state: :starting}, endpoint: %{state: :running}, store: %{state: :running}, mending: %{state: :running}} =
             State.state(c.name)

    Instance.set_up(c.info, true)
    begin(c, :external)
    assert_received {:convex_sidecar, :up}
    assert State.state(unique_name("gone")) == %{}
  end

  test "up is one line and one change; what is up already is none, and is asked anew", c do
    Instance.set_up(c.info, true)
    state = c |> begin(:external) |> info({:convex_sidecar, :up})
    assert {{:changes, 0}, first} = asked()
    assert {said(c.name), changed()} == {[{"node.up", :info}], [{:sidecar, :starting, :up}]}
    since = State.state(c.name).sidecar.since
    send(self(), {[:alias | first], :late})
    Process.sleep(2)
    state = info(state, {:convex_sidecar, :up})
    assert {{:changes, 0}, _} = asked()
    refute_received {[:alias | ^first], _}
    assert {said(c.name), changed()} == {[], []}
    assert State.state(c.name).sidecar.since == since
    assert info(state, :nonsense) == state
  end

  test "a connection that ends waits a moment for its cause, where there is a program; else it is said", c do
    Instance.set_up(c.info, true)
    state = c |> begin(:managed) |> info({:convex_sidecar, :up})
    {said(c.name), changed()}
    state = cast(state, cause("node.down"))
    assert {said(c.name), changed()} == {[], []}
    state = cast(state, cause("sidecar.exited"))
    assert {said(c.name), changed()} == {[{"sidecar.exited", :warning}], [{:sidecar, :up, :down}]}
    # What is found to be down once more is a line and no change.
    state = cast(state, cause("sidecar.not_ready"))
    assert {said(c.name), changed()} == {[{"sidecar.not_ready", :warning}], []}
    state = state |> info({:convex_sidecar, :up}) |> cast(cause("node.down"))
    {said(c.name), changed()}
    assert_receive :no_cause, 5000
    info(state, :no_cause)
    assert {said(c.name), changed()} == {[{"node.down", :warning}], [{:sidecar, :up, :down}]}

    state = c |> begin(:external) |> info({:convex_sidecar, :up})
    {said(c.name), changed()}
    cast(state, cause("node.down"))
    assert {said(c.name), changed()} == {[{"node.down", :warning}], [{:sidecar, :up, :down}]}
    assert %{sidecar: %{state: :down, why: "why", next: "what to do"}} = State.state(c.name)
  end

  test "each change that the sidecar tells is one line and one event, and stands in the table", c do
    Instance.set_up(c.info, true)
    state = c |> begin(:external) |> info({:convex_sidecar, :up})
    {said(c.name), changed()}
    state = answered(state, %{state: "waiting", why: "503", next: "nothing"})
    assert {said(c.name), changed()} == {[{"delivery.waiting", :warning}], [{:endpoint, :running, :waiting}]}
    since = State.state(c.name).endpoint.since
    Process.sleep(2)
    state = answered(state, %{state: "waiting", why: "502", next: "nothing"})
    assert {said(c.name), changed()} == {[], []}
    assert %{endpoint: %{why: "502", since: ^since}} = State.state(c.name)
    kind = %{kind: "k", state: "stopped", why: "w", next: "n"}
    state = answered(state, %{state: "stopped", store_ok: false, next: "make room", kinds: [kind], mending: %{why: "wiped"}})
    lines = [{"delivery.kind", :error}, {"delivery.mending", :warning}, {"delivery.stopped", :error}, {"store.failing", :error}]
    changes = [{:endpoint, :waiting, :stopped}, {:mending, :running, :mending}, {:store, :running, :stopped}, {"k", :running, :stopped}]
    assert {Enum.sort(said(c.name)), Enum.sort(changed())} == {lines, changes}
    assert %{store: %{state: :stopped, next: "make room"}, mending: %{why: "wiped"}} = State.state(c.name)
    assert State.state(c.name).endpoint.since > since
    answered(state, %{state: "paused"})
    assert {{"delivery.paused", :info}, {"store.well", :info}} = {List.keyfind(said(c.name), "delivery.paused", 0), {"store.well", :info}}
    assert {:store, :stopped, :running} in changed()
  end

  test "an older program, or one that is gone, is not asked again; one that is busy is, after a second", c do
    Instance.set_up(c.info, true)
    state = begin(c, :external)

    answers = fn error ->
      state = info(state, {:convex_sidecar, :up})
      {_, ref} = asked()
      # It waits for no other answer.
      refute ref in Tuple.to_list(info(state, {[:alias | ref], {:error, error}}))
    end

    for error <- [:bad_request, :unavailable], do: answers.(error)
    refute_receive :again, 1300
    answers.(:busy)
    assert_receive :again, 5000
    refute_receive :again, 200
    info(state, :again)
    assert {{:changes, 0}, _} = asked()
  end

  # ---- what sweeps

  defmodule Sweeps do
    @moduledoc "What is swept, as the test has put it down."
    @behaviour :convex_sidecar_sweeper
    @impl true
    def sources(_name), do: Process.get(:sources)
    @impl true
    def told(_name, what, info), do: send(self(), {:told, what, info})
  end

  defmodule Silent do
    @moduledoc "The same, of one that is not told."
    @behaviour :convex_sidecar_sweeper
    @impl true
    defdelegate sources(name), to: Sweeps
  end

  defp sweeper(c, module \\ Sweeps) do
    Instance.set_up(c.info, true)
    Process.put(:sources, [{:run_summary, {MemoryLog, 1}}, {:codex_worker_summary, {MemoryLog, 1}}])
    {:ok, state, {:continue, :offer}} = Sweeper.init({c.name, module})
    {:noreply, state} = Sweeper.handle_continue(:offer, state)
    state
  end

  defp message(state, message), do: with({:noreply, state} <- Sweeper.handle_info(message, state), do: state)
  defp offer, do: with({{:sweep, offer}, ref} <- asked(), do: {Map.delete(offer, :vm), ref})

  test "what is offered and taken is swept, and done when nothing of it was left at two looks", c do
    state = sweeper(c)
    assert {%{running: 0, done: 0}, ref} = offer()
    state = message(state, {[:alias | ref], {:ok, %{sweep: 7, why: "wiped"}}})
    assert {%{running: 7, done: 0}, ref} = offer()
    assert_received {:told, :started, %{sweep: 7, why: "wiped", duration_ms: _}}
    assert said(c.name) == [{"sweep.started", :debug}]
    assert %{sweeps: 2} = :convex_sidecar_marks.backlog(c.name)
    assert_receive :look, 5000
    state = message(state, :look)
    :ets.delete_all_objects(c.info.sweeps)
    assert_receive :look, 5000
    state = message(state, :look)
    # Something is there once more: from the beginning.
    :ok = :convex_sidecar_marks.mark(c.name, :run_summary, "a", {MemoryLog, 1})
    assert_receive :look, 5000
    state = message(state, :look)
    :ets.delete_all_objects(c.info.dirty)
    assert_receive :look, 5000
    state = message(state, :look)
    refute_received {:told, :done, _}
    assert_receive :look, 5000
    send(self(), {[:alias | ref], :late})
    state = message(state, :look)
    assert_received {:told, :done, %{sweep: 7, why: "wiped"}}
    assert said(c.name) == [{"sweep.done", :debug}]
    # What was offered before is void.
    refute_received {[:alias | ^ref], _}
    assert {%{running: 0, done: 7}, _} = offer()
    refute_receive :look, 700
    assert message(state, :look) == state
  end

  test "another one while one runs takes its place, with one clock for both", c do
    state = sweeper(c, Silent)
    {_, ref} = offer()
    state = message(state, {[:alias | ref], {:ok, %{sweep: 7, why: "wiped"}}})
    {_, ref} = offer()
    # The same once more, for another reason.
    :ets.delete_all_objects(c.info.sweeps)
    state = message(state, {[:alias | ref], {:ok, %{sweep: 7, why: "restored"}}})
    assert %{sweeps: 0} = :convex_sidecar_marks.backlog(c.name)
    {_, ref} = offer()
    state = message(state, {[:alias | ref], {:ok, %{sweep: 8, why: "swapped"}}})
    assert {%{running: 8}, ref} = offer()
    assert %{sweeps: 2} = :convex_sidecar_marks.backlog(c.name)
    assert_receive :look, 5000
    refute_receive :look, 700
    # Who is not taken offers again; meanwhile nothing is under offer, and the end is no worse for that.
    state = message(state, {[:alias | ref], {:error, :busy}})
    :ets.delete_all_objects(c.info.sweeps)
    state = state |> message(:look) |> message(:look)
    refute_received {:"$gen_call", _, _}
    assert_receive :offer, 5000
    message(state, :offer)
    assert {%{running: 0, done: 8}, _} = offer()
    refute_received {:told, _, _}
  end
end
