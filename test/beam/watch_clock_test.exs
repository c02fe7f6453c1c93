defmodule ConvexSidecar.WatchClockTest do
  @moduledoc """
  The watch and the port without a clock: the test calls their states with events and reads what they ask of
  gen_statem, so that each pause is exact and none is waited for.
  """
  use SidecarCase, async: true

  alias :convex_sidecar_watch, as: Watch
  alias :convex_sidecar_port, as: ProgramPort

  @moduletag :capture_log

  # What the process that keeps the state is told, and says, comes to the test.
  defp hear_state(name), do: Process.register(self(), :convex_sidecar_instance.state_name(name))

  # ---- the watch

  # A node that nobody is: with the test's own, a helper would connect.
  @absent :"nobody@127.0.0.1"

  defp watch(options \\ %{}) do
    name = unique_name("watch")
    info = :convex_sidecar_instance.open(name, %{dest: {:convex_sidecar, @absent}, dirty_limit: 5, hint_limit: 5})
    on_exit(fn -> :convex_sidecar_instance.close(name) end)

    defaults = %{
      name: name,
      mode: :external,
      dest: {:convex_sidecar, @absent},
      backoff_min_ms: 50,
      backoff_max_ms: 60_000,
      cookie: :undefined
    }

    {:ok, state, data} = Watch.init(Map.merge(defaults, options))
    %{name: name, info: info, state: state, data: data}
  end

  # An attempt begins; its helper is the test's to end.
  defp attempt(data) do
    {:keep_state, data, [{:state_timeout, 10_000, :attempt_hangs}]} = Watch.trying(:state_timeout, :again, data)
    data
  end

  # The attempt that is under way ends like this, after so many ms.
  defp ends(data, result, after_ms \\ 0) do
    data = begun_before(data, after_ms)
    {pid, mref} = helper(data)
    Process.demonitor(mref, [:flush])
    Watch.trying(:info, {:DOWN, mref, :process, pid, result}, data)
  end

  defp helper(data), do: Enum.find(Tuple.to_list(data), &match?({p, r} when is_pid(p) and is_reference(r), &1))

  defp begun_before(data, ms) do
    at = Enum.find_index(Tuple.to_list(data), &(&1 == helper(data))) + 1
    put_elem(data, at, System.monotonic_time(:millisecond) - ms)
  end

  defp fail(data, times, after_ms \\ 0) do
    Enum.map_reduce(1..times, data, fn _, data ->
      {:keep_state, data, [{:state_timeout, pause, :again}]} = data |> attempt() |> ends(:not_connected, after_ms)
      {pause, data}
    end)
  end

  test "pauses between attempts double from 50 ms to two seconds, and begin anew when it was up" do
    w = watch()
    assert w.state == :trying
    {pauses, data} = fail(w.data, 8)
    assert pauses == [50, 100, 200, 400, 800, 1600, 2000, 2000]
    assert {:next_state, :up, data} = data |> attempt() |> ends(:normal)
    {:keep_state, data, []} = Watch.up(:enter, :trying, data)
    assert {[50, 100], _} = fail(data, 2)
  end

  test "that nobody is there is said once, at the sixth failure" do
    w = watch()
    hear_state(w.name)
    {_, data} = fail(w.data, 5)
    refute_received {:"$gen_cast", _}
    {_, data} = fail(data, 1)
    assert_received {:"$gen_cast", {:down, {:warning, "node.unreachable", _, _}}}
    fail(data, 10)
    refute_received {:"$gen_cast", _}
  end

  test "an attempt that hangs is ended after ten seconds; two in a row that hang say that the program is silent" do
    w = watch()
    Process.register(self(), :convex_sidecar_instance.port_name(w.name))
    {_, data} = fail(w.data, 1, 899)
    {_, data} = fail(data, 1, 900)
    refute_received {:convex_sidecar, :silent}
    # One that failed at once begins the count anew.
    {_, data} = fail(data, 1)
    {_, data} = fail(data, 1, 5000)
    refute_received {:convex_sidecar, :silent}
    {_, data} = fail(data, 1, 5000)
    assert_received {:convex_sidecar, :silent}
    data = data |> attempt() |> begun_before(10_000)
    {pid, _} = helper(data)
    assert {:keep_state, data, [{:state_timeout, _, :again}]} = Watch.trying(:state_timeout, :attempt_hangs, data)
    assert helper(data) == nil
    wait_until(fn -> not Process.alive?(pid) end)
    refute_received {:convex_sidecar, :silent}
  end

  test "up and down are known to all and told to the port and the conveyor" do
    w = watch()
    Process.register(self(), :convex_sidecar_instance.conveyor_name(w.name))
    refute :convex_sidecar_instance.is_up(w.info)
    key = {self(), make_ref()}
    {:keep_state, data, [{{:timeout, timer}, 70, :unavailable}]} = Watch.trying({:call, key}, {:await, 70}, w.data)
    {:next_state, :up, data} = data |> attempt() |> ends(:normal)
    assert {:keep_state, data, [{:reply, ^key, :ok}]} = Watch.up(:enter, :trying, data)
    assert :convex_sidecar_instance.is_up(w.info)
    assert_received {:convex_sidecar, :up}
    # Its time is over after it was answered.
    assert Watch.up({:timeout, timer}, :unavailable, data) == :keep_state_and_data
    assert {:keep_state_and_data, [{:reply, ^key, :ok}]} = Watch.up({:call, key}, {:await, 70}, data)
    assert Watch.up(:info, {:nodedown, :"other@127.0.0.1"}, data) == :keep_state_and_data
    assert {:next_state, :trying, data} = Watch.up(:info, {:nodedown, @absent}, data)
    refute :convex_sidecar_instance.is_up(w.info)
    assert_received {:convex_sidecar, :down}
    # Nobody comes in time.
    {:keep_state, data, [{{:timeout, timer}, 70, :unavailable}]} = Watch.trying({:call, key}, {:await, 70}, data)
    assert {:keep_state, _, [{:reply, ^key, {:error, :unavailable}}]} = Watch.trying({:timeout, timer}, :unavailable, data)
  end

  test "a managed one tries when the program is ready, and stops when it goes" do
    w = watch(%{mode: :managed})
    assert w.state == :idle
    assert {:next_state, :trying, data} = Watch.idle(:cast, {:expect, fn -> :some_cookie end}, w.data)
    from = {self(), make_ref()}
    data = attempt(data)
    {pid, _} = helper(data)
    assert {:next_state, :idle, data, [{:reply, ^from, :ok}]} = Watch.trying({:call, from}, :gone, data)
    wait_until(fn -> not Process.alive?(pid) end)
    {:next_state, :trying, data} = Watch.idle(:cast, {:expect, fn -> :some_cookie end}, data)
    {:next_state, :up, data} = data |> attempt() |> ends(:normal)
    {:keep_state, data, []} = Watch.up(:enter, :trying, data)
    # The VM's own word on a node that nobody is; then one that comes too late.
    assert_receive {:nodedown, @absent}, 5000
    send(self(), {:nodedown, @absent})
    assert {:next_state, :idle, _, [{:reply, ^from, :ok}]} = Watch.up({:call, from}, :gone, data)
    # What was on its way is of the program before, and nothing more comes.
    refute_receive {:nodedown, _}, 200
    refute :convex_sidecar_instance.is_up(w.info)
  end

  # Stands for one of those that are told, and says so to the test.
  defp relay(name) do
    test = self()

    pid =
      spawn_link(fn ->
        Process.register(self(), name)
        send(test, :registered)
        relay_to(test, name)
      end)

    assert_receive :registered, 5000
    pid
  end

  defp relay_to(test, name) do
    receive do
      message -> send(test, {name, message})
    end

    relay_to(test, name)
  end

  test "one that begins anew is not up, and knows the port it was given; nor is one that ends" do
    w = watch(%{port: 4242})
    assert Process.info(self(), :trap_exit) == {:trap_exit, true}
    assert :convex_sidecar_epmd.port_please(~c"nobody", ~c"127.0.0.1") == {:port, 4242, 6}
    :convex_sidecar_instance.set_up(w.info, true)

    {:ok, :trying, data} =
      Watch.init(%{name: w.name, mode: :external, dest: {:x, @absent}, backoff_min_ms: 50, backoff_max_ms: 100, cookie: :undefined})

    refute :convex_sidecar_instance.is_up(w.info)
    :convex_sidecar_instance.set_up(w.info, true)
    assert Watch.terminate(:shutdown, :trying, data) == :ok
    refute :convex_sidecar_instance.is_up(w.info)
  end

  test "who is told: the state, the port and the conveyor, of up and of down; a node that goes is a line" do
    w = watch()
    instance = :convex_sidecar_instance
    [state, port, conveyor] = names = [instance.state_name(w.name), instance.port_name(w.name), instance.conveyor_name(w.name)]
    for name <- names, do: relay(name)
    {:next_state, :up, data} = w.data |> attempt() |> ends(:normal)
    {:keep_state, data, []} = Watch.up(:enter, :trying, data)
    for name <- names, do: assert_receive({^name, {:convex_sidecar, :up}}, 5000)
    {:next_state, :trying, _} = Watch.up(:info, {:nodedown, @absent}, data)
    for name <- names, do: assert_receive({^name, {:convex_sidecar, :down}}, 5000)
    assert_receive {^state, {:"$gen_cast", {:down, {:warning, "node.down", _, _}}}}, 5000
    refute_received {^port, _}
    refute_received {^conveyor, _}
  end

  test "an attempt that is given up says nothing any more" do
    w = watch()
    data = attempt(w.data)
    {pid, mref} = helper(data)
    Watch.trying({:call, {self(), make_ref()}}, :gone, data)
    wait_until(fn -> not Process.alive?(pid) end)
    refute_receive {:DOWN, ^mref, _, _, _}, 100
  end

  test "an attempt connects to who is there, and to nobody else" do
    {pid, mref} = helper(attempt(watch().data))
    assert_receive {:DOWN, ^mref, :process, ^pid, :not_connected}, 20_000
    {pid, mref} = helper(attempt(watch(%{dest: {:convex_sidecar, node()}}).data))
    assert_receive {:DOWN, ^mref, :process, ^pid, :normal}, 20_000
    {pid, mref} = helper(attempt(watch(%{cookie: fn -> raise "no cookie" end}).data))
    assert_receive {:DOWN, ^mref, :process, ^pid, {:no_cookie, _}}, 20_000
  end

  # ---- the port

  # Places in its record.
  @name 1
  @port 4
  @os_pid 5
  @ready_at 7

  defp port(options \\ %{}) do
    name = unique_name("port")
    :convex_sidecar_instance.open(name, %{dest: {:convex_sidecar, node()}, dirty_limit: 5, hint_limit: 5})
    on_exit(fn -> :convex_sidecar_instance.close(name) end)
    defaults = %{name: name, dest: {:convex_sidecar, node()}, backoff_min_ms: 100, backoff_max_ms: 1000, start_ms: 5000, drain_ms: 300}
    {:ok, :waiting, data} = ProgramPort.init(Map.merge(defaults, options))
    # A port that is there, and nobody's program.
    {data, Port.open({:spawn, "cat"}, [:binary])}
  end

  # The program of this port has ended so, `ran` ms after it was ready (nil: it never was).
  defp ends_with({data, port}, status, ran) do
    ready_at = if ran, do: System.monotonic_time(:millisecond) - ran, else: :undefined
    data = data |> put_elem(@port, port) |> put_elem(@ready_at, ready_at)
    {:next_state, :waiting, data} = ProgramPort.running(:info, {port, {:exit_status, status}}, data)
    data
  end

  defp pause(data) do
    {:keep_state, data, [{:state_timeout, ms, :start}]} = ProgramPort.waiting(:enter, :running, data)
    {ms, data}
  end

  test "a program that crashes is started after pauses that double to their bound; one that ran ten seconds anew" do
    {data, port} = port()

    {pauses, data} =
      Enum.map_reduce([nil, nil, 9_000, nil, nil, nil, nil], data, fn ran, data -> {data, port} |> ends_with(3, ran) |> pause() end)

    assert pauses == [100, 200, 400, 800, 1000, 1000, 1000]
    {ms, data} = {data, port} |> ends_with(3, 10_000) |> pause()
    assert ms == 100
    {ms, _} = {data, port} |> ends_with(3, nil) |> pause()
    assert ms == 200
  end

  test "one that an operator ended is started at once; one that says 0 before it was ready is a crash" do
    {data, port} = port()
    data = ends_with({data, port}, 0, 50)
    assert {:keep_state_and_data, [{:state_timeout, 0, :start}]} = ProgramPort.waiting(:enter, :running, data)
    assert {100, _} = {data, port} |> ends_with(0, nil) |> pause()
  end

  test "it has start_ms to be ready, longer while it migrates, and drain_ms and two seconds to end" do
    {data, port} = port()
    data = put_elem(data, @port, port)
    assert {:keep_state_and_data, [{:state_timeout, 5000, :not_ready}]} = ProgramPort.starting(:enter, :waiting, data)

    assert {:keep_state_and_data, [{:state_timeout, 30_000, :not_ready}]} =
             ProgramPort.starting(:info, {port, {:data, {:eol, "migrating done=1 of=3"}}}, data)

    assert {:keep_state_and_data, [{:state_timeout, 2300, :still_there}]} = ProgramPort.stopping(:enter, :running, data)
    {data, port} = port(%{start_ms: 60_000})
    data = put_elem(data, @port, port)

    assert {:keep_state_and_data, [{:state_timeout, 60_000, :not_ready}]} =
             ProgramPort.starting(:info, {port, {:data, {:eol, "migrating done=1 of=3"}}}, data)
  end

  test "a restart asks it to drain, and once more to hurry" do
    {data, port} = port()
    from = {self(), make_ref()}
    # It catches the signals it is sent, and says so.
    words = "trap 'echo told' TERM; while :; do sleep 0.01; done"
    program = Port.open({:spawn_executable, "/bin/sh"}, [:binary, args: ["-c", words]])
    {:os_pid, os_pid} = Port.info(program, :os_pid)
    data = data |> put_elem(@port, port) |> put_elem(@os_pid, os_pid)
    Process.sleep(100)
    assert {:next_state, :stopping, data, [{{:timeout, :hurry}, 250, :again}]} = ProgramPort.running({:call, from}, :restart, data)
    assert_receive {^program, {:data, "told\n"}}, 5000
    assert :keep_state_and_data = ProgramPort.stopping({:timeout, :hurry}, :again, data)
    assert_receive {^program, {:data, "told\n"}}, 5000
    assert :keep_state_and_data = ProgramPort.stopping(:state_timeout, :still_there, data)
    wait_until(fn -> not alive?(os_pid) end)
  end

  test "of what it said the last ten lines are told when it ends" do
    {data, port} = port()
    hear_state(elem(data, @name))
    data = put_elem(data, @port, port)

    data =
      Enum.reduce(1..12, data, fn i, data ->
        {:keep_state, data} = ProgramPort.running(:info, {port, {:data, {:eol, "warning line.#{i} x"}}}, data)
        data
      end)

    {:next_state, :waiting, _} = ProgramPort.running(:info, {port, {:exit_status, 137}}, data)
    assert_received {:"$gen_cast", {:down, {:error, "sidecar.exited", why, _}}}
    text = IO.iodata_to_binary(why)
    assert text =~ "signal=9"
    assert text =~ "line.3 x" and text =~ "line.12 x"
    refute text =~ "line.2 x"
  end

  # What the state is told.
  defp told do
    assert_received {:"$gen_cast", {:down, {level, event, why, next}}}
    {level, event, IO.chardata_to_string(why), IO.chardata_to_string(next)}
  end

  test "what it is that went wrong is told in words, each with its level, and said when it was killed" do
    {data, port} = port()
    hear_state(elem(data, @name))
    watch_log()
    data = put_elem(data, @port, port)
    {:next_state, :stopping, _} = ProgramPort.starting(:state_timeout, :not_ready, data)
    assert {:error, "sidecar.not_ready", "no ready line within start_ms", "see its last words" <> _} = told()
    from = {self(), make_ref()}
    {:next_state, :stopping, _, _} = ProgramPort.running({:call, from}, :restart, data)
    assert {:info, "sidecar.restarting", "restart/1 was called", ""} = told()
    :keep_state_and_data = ProgramPort.stopping(:state_timeout, :still_there, data)
    assert_received {:log, :warning, %{event: "sidecar.killed"}, _}
    line = "ready node=some@body port=4711"
    {:next_state, :stopping, _} = ProgramPort.starting(:info, {port, {:data, {:eol, line}}}, data)
    assert {:error, "sidecar.wrong_node", why, _} = told()
    assert why == "node=some@body expected=#{node()}"
    ends_with({data, port}, 0, 50)
    assert {:info, "sidecar.ended", "status=0: it was told to end", _} = told()

    for {status, says} <- [{3, "status=3"}, {128, "status=128"}, {129, "signal=1"}, {137, "signal=9"}] do
      ends_with({data, port}, status, 50)
      assert {:error, "sidecar.exited", ^says, _} = told()
    end
  end

  # Stands for the watch, and says to the test what it is asked.
  defp watcher(data) do
    test = self()

    pid =
      spawn_link(fn ->
        Process.register(self(), :convex_sidecar_instance.watch_name(elem(data, @name)))
        send(test, :registered)
        answer_gone(test)
      end)

    assert_receive :registered, 5000
    pid
  end

  defp answer_gone(test) do
    receive do
      {:"$gen_call", from, :gone} -> send(test, :asked_gone) && :gen.reply(from, :ok)
    end

    answer_gone(test)
  end

  # A process of its own that nothing but SIGKILL ends.
  defp deaf do
    program = Port.open({:spawn_executable, "/bin/sh"}, [:binary, args: ["-c", "trap '' TERM; while :; do sleep 0.01; done"]])
    {:os_pid, os_pid} = Port.info(program, :os_pid)
    {program, os_pid}
  end

  test "what is frozen, not ready or somebody else is killed; before that the watch lets go of it" do
    assert Process.info(self(), :trap_exit) == {:trap_exit, false}
    {data, port} = port()
    assert Process.info(self(), :trap_exit) == {:trap_exit, true}
    watcher(data)
    hear_state(elem(data, @name))

    for {ends, lets_go?} <- [
          {&ProgramPort.running(:info, {:convex_sidecar, :silent}, &1), true},
          {&ProgramPort.starting(:state_timeout, :not_ready, &1), false},
          {fn data -> ProgramPort.starting(:info, {elem(data, @port), {:data, {:eol, "ready node=some@body port=4711"}}}, data) end, false}
        ] do
      {program, os_pid} = deaf()
      assert {:next_state, :stopping, _} = ends.(data |> put_elem(@port, program) |> put_elem(@os_pid, os_pid))
      wait_until(fn -> not alive?(os_pid) end)
      assert lets_go? == receive(do: (:asked_gone -> true), after: (0 -> false))
    end

    data = put_elem(data, @port, port)
    ProgramPort.running({:call, {self(), make_ref()}}, :restart, data)
    assert_received :asked_gone
    ends_with({data, port}, 3, 50)
    assert_received :asked_gone
    Port.close(port)
    ProgramPort.terminate(:shutdown, :running, data)
    assert_received :asked_gone
  end

  test "a program that ends orderly within its time, and one that does not" do
    for {words, killed} <- [
          {"trap 'exit 0' TERM; while :; do sleep 0.01; done", false},
          {"trap '' TERM; while :; do sleep 0.01; done", true}
        ] do
      watch_log()
      {data, _} = port(%{drain_ms: 0})
      name = elem(data, @name)
      program = Port.open({:spawn_executable, "/bin/sh"}, [:binary, :exit_status, args: ["-c", words]])
      {:os_pid, os_pid} = Port.info(program, :os_pid)
      Process.sleep(200)
      assert ProgramPort.terminate(:shutdown, :running, data |> put_elem(@port, program) |> put_elem(@os_pid, os_pid)) == :ok
      wait_until(fn -> not alive?(os_pid) end)
      if killed, do: assert_received({:log, :warning, %{event: "sidecar.killed", instance: ^name}, _})
      unless killed, do: refute_received({:log, :warning, %{event: "sidecar.killed", instance: ^name}, _})
    end
  end
end
