defmodule ConvexSidecar.NoDistributionTest do
  # VMs of their own, which have no distribution when their application starts (`mix test`,
  # RELEASE_DISTRIBUTION=none), and get it later.
  use SidecarCase, async: false

  alias OpenAgentsRuntime.Convex.{DiskEventLog, Projector, Sidecar}

  @moduletag timeout: 60_000

  defp vm(env, options) do
    children = [{DiskEventLog, dir: tmp_dir()}, {Sidecar, options}]
    Vm.start(dynamic: :later, env: [convex_event_log: DiskEventLog] ++ env, children: children)
  end

  defp server(vm, function, args), do: Vm.call(vm, :convex_sidecar, function, [:convex_sidecar | args])

  test "managed: starts, answers unavailable, says why once; begins by itself, and forgets nothing" do
    store = Path.join(tmp_dir(), "store")
    vm = vm([], store_dir: store)
    assert Vm.call(vm, Vm, :append, [["r"], 2]) == :ok
    unavailable = {:error, {:sink_write_failed, :unavailable}}
    assert Vm.call(vm, Projector, :project_run, ["r"]) == unavailable
    assert Vm.call(vm, Sidecar, :status, []) == {:error, :unavailable}
    assert server(vm, :await, [10]) == {:error, :unavailable}
    assert Vm.call(vm, Sidecar, :restart, []) == {:error, :no_distribution}
    assert {:error, {:no_distribution, text}} = Vm.call(vm, Sidecar, :health, [])
    assert text =~ "--name app@127.0.0.1" and text =~ "RELEASE_DISTRIBUTION=name"
    # No program was started, so nothing was written, and longer than a look takes nothing restarts.
    port = Vm.call(vm, Process, :whereis, [:convex_sidecar_port])
    assert server(vm, :await, [2500]) == {:error, :unavailable}
    assert Vm.call(vm, Process, :whereis, [:convex_sidecar_port]) == port
    refute File.exists?(store)

    Vm.distribute(vm)
    assert server(vm, :await, [10_000]) == :ok
    assert server(vm, :settle, [10_000]) == :ok
    assert {:ok, %{seq: 2}} = server(vm, :checkpoint, ["runtime/run_summary:r"])
    assert Vm.call(vm, Sidecar, :health, []) == :ok
    assert {:ok, %{node: node}} = Vm.call(vm, Sidecar, :status, [])
    assert node == String.replace(to_string(vm.node), "@", "_convex@")
    assert [{:warning, line}] = Vm.logged(vm, "sidecar.no_distribution")
    assert line =~ text
    assert Vm.logged(vm, "node.no_distribution") == []
  end

  test "managed, with a node name of its own: the same" do
    node = :"own_#{unique()}_#{System.pid()}@127.0.0.1"
    vm = vm([], store_dir: Path.join(tmp_dir(), "store"), node: node)
    assert {:error, {:no_distribution, _}} = Vm.call(vm, Sidecar, :health, [])
    Vm.distribute(vm)
    assert server(vm, :await, [10_000]) == :ok
    assert {:ok, %{node: named}} = Vm.call(vm, Sidecar, :status, [])
    assert named == to_string(node)
  end

  test "external: the same, and says so once" do
    fake = unique_name("fake")
    start_supervised!({FakeSidecar, fake})
    vm = vm([], mode: :external, node: node(), registered_name: fake, cookie: Node.get_cookie())
    assert Vm.call(vm, Vm, :append, [["r"], 2]) == :ok
    assert {:error, {:sink_write_failed, :unavailable}} = Vm.call(vm, Projector, :project_run, ["r"])
    assert {:error, {:no_distribution, _}} = Vm.call(vm, Sidecar, :health, [])
    assert server(vm, :await, [2500]) == {:error, :unavailable}

    Vm.distribute(vm)
    assert server(vm, :await, [10_000]) == :ok
    assert server(vm, :settle, [10_000]) == :ok
    assert %{"runtime/run_summary:r" => %{folded: 2}} = FakeSidecar.documents(fake)
    assert [{:warning, _}] = Vm.logged(vm, "node.no_distribution")
    assert Vm.logged(vm, "node.unreachable") == []
  end

  test "health/1 of what is not there, and of what cannot be reached" do
    assert {:error, {:not_started, "no sidecar of this name" <> _}} = Sidecar.health(sidecar: unique_name())
    name = start_instance(name: unique_name(), mode: :external, node: :"nobody@127.0.0.1")
    assert {:error, {:not_connected, text}} = Sidecar.health(sidecar: name)
    assert text =~ "nobody@127.0.0.1"
  end
end
