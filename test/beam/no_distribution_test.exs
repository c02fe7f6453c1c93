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

  # What speaks otherwise: each works, or one line says what to do and nothing else happens.
  defp speaking(args, options \\ []) do
    children = [{DiskEventLog, dir: tmp_dir()}, {Sidecar, options[:sidecar] || [store_dir: Path.join(tmp_dir(), "store")]}]
    options = Keyword.merge([dynamic: :later], Keyword.delete(options, :sidecar))
    vm = Vm.start([args: args, env: [convex_event_log: DiskEventLog], children: children] ++ options)
    assert Vm.call(vm, Vm, :append, [["r"], 2]) == :ok
    vm
  end

  test "names over IPv6 reach the sidecar, which listens on IPv4" do
    case :gen_tcp.listen(0, [:inet6, ip: {0, 0, 0, 0, 0, 0, 0, 1}]) do
      {:ok, _} ->
        vm = speaking([~c"-proto_dist", ~c"inet6_tcp"])
        Vm.distribute(%{vm | node: :"v6_#{unique()}_#{System.pid()}@::1"})
        assert server(vm, :await, [10_000]) == :ok
        assert server(vm, :settle, [10_000]) == :ok
        assert {:ok, %{node: node}} = Vm.call(vm, Sidecar, :status, [])
        assert node =~ "_convex@::ffff:127.0.0.1"

      {:error, why} ->
        IO.puts("    not shown here: no IPv6 on this machine (#{why})")
    end
  end

  test "a port for all nodes: no program is started, and one line says what to do" do
    vm = speaking([~c"-erl_epmd_port", ~c"43210"])
    assert {:error, {:no_distribution, _}} = Vm.call(vm, Sidecar, :health, [])
    Vm.distribute(vm)
    assert server(vm, :await, [2500]) == {:error, :unavailable}
    assert {:error, {:no_epmd, text}} = Vm.call(vm, Sidecar, :health, [])
    assert text =~ "without epmd" and text =~ "-epmd_module convex_sidecar_epmd"
    assert Vm.call(vm, Sidecar, :restart, []) == {:error, :no_epmd}
    assert Vm.call(vm, OpenAgentsRuntime.Convex, :health, []) == {:error, {:no_epmd, text}}
  end

  # The application stands, one line says why, and no program was started.
  defp stands_with(vm, obstacle) do
    assert {:error, {^obstacle, text}} = Vm.call(vm, OpenAgentsRuntime.Convex, :health, [])
    wait_until(fn -> Vm.logged(vm, "sidecar.#{obstacle}") != [] end)
    assert server(vm, :await, [1500]) == {:error, :unavailable}
    assert [{:warning, line}] = Vm.logged(vm, "sidecar.#{obstacle}")
    assert line =~ text
    assert Vm.call(vm, Projector, :project_run_async, ["r"]) == :ok
    assert Vm.call(vm, :convex_sidecar_port, :os_pid, [:convex_sidecar]) == :undefined
    assert is_pid(Vm.call(vm, Process, :whereis, [:convex_sidecar_sup]))
  end

  test "short names: works" do
    vm = speaking([])
    {:ok, _} = Vm.call(vm, :net_kernel, :start, [[:"short_#{unique()}_#{System.pid()}", :shortnames]])
    assert server(vm, :await, [10_000]) == :ok
    assert {:ok, %{node: node}} = Vm.call(vm, Sidecar, :status, [])
    assert node =~ "_convex@localhost"
  end

  test "TLS distribution is not spoken, and one line says so" do
    vm = speaking([~c"-proto_dist", ~c"inet_tls"])
    Vm.distribute(vm)
    stands_with(vm, :tls_distribution)
  end

  test "short names over IPv6 lead to no sidecar, and one line says so" do
    vm = speaking([~c"-proto_dist", ~c"inet6_tcp"])

    case Vm.call(vm, :net_kernel, :start, [[:"short6_#{unique()}_#{System.pid()}", :shortnames]]) do
      {:ok, _} -> stands_with(vm, :short_names_over_ipv6)
      {:error, _} -> IO.puts("    not shown here: this machine's name has no IPv6 address")
    end
  end

  @own_epmd [~c"-epmd_module", ~c"convex_sidecar_epmd", ~c"-pa"]

  # Nobody listens where epmd would be.
  defp no_epmd, do: free_port()

  defp free_port do
    {:ok, socket} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(socket)
    :ok = :gen_tcp.close(socket)
    port
  end

  defp ebin, do: :convex_sidecar |> Application.app_dir("ebin") |> String.to_charlist()

  test "no epmd: -epmd_module convex_sidecar_epmd finds the sidecar, with and without a port for all nodes" do
    for more <- [[], [~c"-erl_epmd_port", Integer.to_charlist(free_port())]] do
      vm = speaking(@own_epmd ++ [ebin() | more], epmd: no_epmd(), dynamic: false)
      assert server(vm, :await, [10_000]) == :ok
      assert server(vm, :settle, [10_000]) == :ok
      assert {:ok, %{seq: 2}} = server(vm, :checkpoint, ["runtime/run_summary:r"])
      # Another process has another port.
      assert {:ok, _} = Vm.call(vm, Sidecar, :restart, [])
      assert Vm.call(vm, Sidecar, :health, []) == :ok
      assert Vm.logged(vm, "sidecar.exited") == []
      Vm.kill(vm)
    end
  end

  test "no epmd, external: [node] port and epmd = off there, port here" do
    port = free_port()
    node = start_external(port: port, epmd: :off)
    sidecar = [mode: :external, node: node, port: port]
    vm = speaking(@own_epmd ++ [ebin()], epmd: no_epmd(), dynamic: false, sidecar: sidecar)
    assert server(vm, :await, [10_000]) == :ok
    assert server(vm, :settle, [10_000]) == :ok
    assert {:ok, %{published: true, metrics: %{pending: _}}} = Vm.call(vm, Sidecar, :status, [])
  end

  test "no epmd and nothing else: the VM gets no name, and the application stands" do
    vm = speaking([], epmd: no_epmd())
    assert {:error, _} = Vm.call(vm, :net_kernel, :start, [[vm.node, :longnames]])
    stands_with(vm, :no_distribution)
  end

  # As a release reads sys.config, of an application that is not called :openagents_runtime.
  test "the configuration in a file of the VM counts, whatever the application is called" do
    dir = tmp_dir()
    File.write!(Path.join(dir, "sys.config"), "[{openagents_runtime, [{convex_event_log, 'Elixir.FromFile'}]}].")
    vm = Vm.start(dynamic: :later, args: [~c"-config", to_charlist(Path.join(dir, "sys"))])
    assert Vm.call(vm, Application, :get_env, [:openagents_runtime, :convex_event_log]) == FromFile
  end

  test "health/1 of what is not there, and of what cannot be reached" do
    assert {:error, {:not_started, "no sidecar of this name" <> _}} = Sidecar.health(sidecar: unique_name())
    name = start_instance(name: unique_name(), mode: :external, node: :"nobody@127.0.0.1")
    assert {:error, {:not_connected, text}} = Sidecar.health(sidecar: name)
    assert text =~ "nobody@127.0.0.1"
  end
end
