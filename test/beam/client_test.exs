defmodule ConvexSidecar.ClientTest do
  use SidecarCase, async: true

  test "every function sends its row of the protocol" do
    {name, fake} = start_fake()
    ok = List.duplicate({:ok, :fine}, 30)
    FakeSidecar.script(fake, ok)

    :convex_sidecar.project(name, :run_summary, "r", %{}, [])
    :convex_sidecar.project(name, :run_summary, "r", %{}, [], ack: :written, timeout: 100)
    :convex_sidecar.upsert(name, :run_summary, "d", %{}, %{now: "n"})
    :convex_sidecar.batch(name, [])
    :convex_sidecar.checkpoint(name, "d")
    :convex_sidecar.clear(name, {:kind, :run_summary})
    :convex_sidecar.status(name)
    :convex_sidecar.flush(name, 5)
    :convex_sidecar.pause(name)
    :convex_sidecar.resume(name)
    :convex_sidecar.drain(name)
    :convex_sidecar.drain(name, 7)
    :convex_sidecar.reload(name)
    :convex_sidecar.dead_list(name)
    :convex_sidecar.dead_list(name, "d")
    :convex_sidecar.dead_show(name, "d")
    :convex_sidecar.dead_retry(name, :all)
    :convex_sidecar.dead_drop(name, "d")

    assert FakeSidecar.requests(fake) == [
             {:project, :run_summary, "r", %{}, [], %{}},
             {:project, :run_summary, "r", %{}, [], %{ack: :written}},
             {:upsert, :run_summary, "d", %{}, %{now: "n"}},
             {:batch, []},
             {:checkpoint, "d"},
             {:clear, {:kind, :run_summary}},
             :status,
             {:flush, 5},
             :pause,
             :resume,
             {:drain, 10_000},
             {:drain, 7},
             :reload,
             {:dead, :list},
             {:dead, {:list, "d"}},
             {:dead, {:show, "d"}},
             {:dead, {:retry, :all}},
             {:dead, {:drop, "d"}}
           ]
  end

  test "a late answer never reaches the mailbox" do
    {name, fake} = start_fake()
    FakeSidecar.script(fake, [:silent])
    assert :convex_sidecar.call(name, {:echo, 1}, 20) == {:error, :timeout}
    assert FakeSidecar.wake(fake, {:ok, :late}) == 1
    assert :convex_sidecar.call(name, {:echo, 2}, 1000) == {:ok, 2}
    refute_received _
  end

  test "an unknown instance, a node not connected, a name nobody has: unavailable, at once" do
    assert :convex_sidecar.status(:no_such_instance) == {:error, :unavailable}
    elsewhere = :"nobody_#{unique()}@127.0.0.1"
    assert :convex_sidecar.status({:convex_sidecar, elsewhere}) == {:error, :unavailable}
    # No connection was even tried.
    refute elsewhere in Node.list(:known)
    assert :convex_sidecar.status({:nobody_here, node()}) == {:error, :unavailable}
  end

  test "a sidecar that dies under a call is unavailable" do
    {name, fake} = start_fake()
    FakeSidecar.script(fake, [:silent])
    task = Task.async(fn -> :convex_sidecar.call(name, {:echo, 1}, 5000) end)
    wait_until(fn -> FakeSidecar.requests(fake) != [] end)
    stop_supervised!(fake)
    assert Task.await(task) == {:error, :unavailable}
  end

  test "{Name, Node} goes without an instance" do
    {_name, fake} = start_fake()
    assert :convex_sidecar.call({fake, node()}, {:echo, 1}, 1000) == {:ok, 1}
  end

  test "a call that waits is answered once the sidecar is back" do
    {name, fake} = start_fake()
    {:ok, info} = :convex_sidecar_instance.lookup(name)
    stop_supervised!(fake)

    task = Task.async(fn -> :convex_sidecar.call(name, {:echo, 1}, %{wait: true, timeout: 5000}) end)

    assert Task.yield(task, 50) == nil
    start_supervised!({FakeSidecar, fake}, id: fake)
    assert Task.await(task) == {:ok, 1}
    assert :convex_sidecar_instance.is_up(info)
  end

  test "a call that waits in vain keeps to its timeout" do
    name = start_instance(name: unique_name(), mode: :external, node: :"nobody@127.0.0.1")

    {us, answer} = :timer.tc(fn -> :convex_sidecar.call(name, :status, %{wait: true, timeout: 100}) end)

    assert answer == {:error, :unavailable}
    assert us in 100_000..2_000_000
    assert :convex_sidecar.call(name, :status, %{timeout: 1000}) == {:error, :unavailable}
  end

  defmodule Log do
    @moduledoc "A log that says whether it is in a transaction."
    def in_transaction(answer), do: answer
  end

  # An instance without its processes: what it leaves to them stays where it was put.
  defp house(dest) do
    name = unique_name("house")
    info = :convex_sidecar_instance.open(name, %{dest: dest, dirty_limit: 10, hint_limit: 10})
    on_exit(fn -> :convex_sidecar_instance.close(name) end)
    {name, info}
  end

  test "what is marked in a transaction is looked at until it has ended, what is not is not" do
    {name, info} = house({:nobody, node()})
    :ok = :convex_sidecar.project_async(name, :run_summary, "a", {Log, false})
    assert :ets.info(info.asked, :size) == 0
    :ok = :convex_sidecar.project_async(name, :run_summary, "b", {Log, true})
    assert [{{{{:run_summary, "b"}, {Log, true}}, true}, _, _, _}] = :ets.tab2list(info.asked)
    assert :ets.info(info.dirty, :size) == 2
  end

  test "who does not ask to wait does not" do
    name = start_instance(name: unique_name(), mode: :external, node: :"nobody@127.0.0.1")

    for call <- [60_000, %{timeout: 60_000}, %{timeout: 60_000, wait: false}] do
      task = Task.async(fn -> :convex_sidecar.call(name, :status, call) end)
      assert Task.yield(task, 20_000) == {:ok, {:error, :unavailable}}
    end

    # There is nobody to wait with for {Name, Node}.
    assert :convex_sidecar.call({:nobody_here, node()}, :status, %{wait: true, timeout: 60_000}) == {:error, :unavailable}
  end

  test "who waits is sent again what passes, now and then, and told of all else at once" do
    {name, fake} = start_fake()
    waiting = fn ms -> :convex_sidecar.call(name, {:echo, 1}, %{wait: true, timeout: ms}) end
    FakeSidecar.script(fake, [{:error, :draining}, {:error, :busy}])
    assert waiting.(10_000) == {:ok, 1}
    assert length(FakeSidecar.requests(fake)) == 3
    FakeSidecar.script(fake, [{:error, {:store, :full}}])
    assert waiting.(10_000) == {:error, {:store, :full}}
    FakeSidecar.script(fake, List.duplicate({:error, :busy}, 10_000))
    before = length(FakeSidecar.requests(fake))
    assert waiting.(200) in [{:error, :busy}, {:error, :timeout}]
    assert (length(FakeSidecar.requests(fake)) - before) in 2..12
    # And who does not wait hears of it.
    assert :convex_sidecar.project(name, :run_summary, "r", %{}, []) == {:error, :busy}
    assert :convex_sidecar.project(name, :run_summary, "r", %{}, [], wait: false) == {:error, :busy}
  end

  test "a node that has just gone is unavailable, and leaves no message" do
    {name, info} = house({:nobody, :"nobody_#{unique()}@127.0.0.1"})
    :convex_sidecar_instance.set_up(info, true)
    assert :convex_sidecar.call(name, :status, 10_000) == {:error, :unavailable}
    refute_receive _, 300
  end

  test "which answers pass, and which do not" do
    for reason <- [:busy, :unavailable, :timeout, :draining, {:store, :any}], do: assert(:convex_sidecar.is_passing(reason))
    for reason <- [:not_found, {:invalid, "x", "y"}, :bad_request], do: refute(:convex_sidecar.is_passing(reason))
  end

  test "an answer by message: its own, the end of who was asked, or none of both; nothing comes after it" do
    ref = make_ref()
    down = fn reason -> :convex_sidecar.check_response({:DOWN, ref, :process, self(), reason}, ref) end
    gone = [:noproc, :noconnection, :normal, :shutdown, :killed, {:shutdown, :any}]
    for reason <- gone, do: assert(down.(reason) == {:reply, {:error, :unavailable}})
    assert down.(:crashed) == {:reply, {:error, :crashed}}
    assert :convex_sidecar.check_response({[:alias | make_ref()], :x}, ref) == :no
    assert :convex_sidecar.check_response(:nonsense, ref) == :no
    # Each of the two ends the watch of who was asked.
    for ended <- [fn ref -> :convex_sidecar.check_response({[:alias | ref], {:ok, 1}}, ref) end, &:convex_sidecar.abandon/1] do
      pid = spawn(fn -> Process.sleep(:infinity) end)
      ended.(Process.monitor(pid))
      Process.exit(pid, :kill)
    end

    refute_receive {:DOWN, _, _, _, _}, 200
  end

  test "who has started an instance outlives its end; what sweeps is there if it was asked for" do
    name = unique_name()
    ids = fn -> for {id, _, _, _} <- Supervisor.which_children(:convex_sidecar_instance.sup_name(name)), do: id end
    options = [name: name, mode: :external, node: :"nobody@127.0.0.1"]
    {:ok, sup} = :convex_sidecar.start_link(options)
    assert Enum.sort(ids.()) == [:conveyor, :state, :watch]
    assert :convex_sidecar.stop(name) == :ok
    refute Process.alive?(sup)
    assert :convex_sidecar.stop(name) == :ok
    {:ok, _} = :convex_sidecar.start_link(options ++ [sweep: OpenAgentsRuntime.Convex.Sweep])
    assert Enum.sort(ids.()) == [:conveyor, :state, :sweeper, :watch]
    assert :convex_sidecar.stop(name) == :ok
    refute :convex_sidecar_epmd.is_used()
    assert :convex_sidecar_epmd.register_node(~c"somebody", 4321) == {:error, :already_registered}
  end
end
