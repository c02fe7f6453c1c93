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
end
