defmodule ConvexSidecar.BesideTest do
  # Operators' commands beside a running application: a VM of its own with a managed sidecar.
  use SidecarCase, async: false

  import ExUnit.CaptureIO
  alias Mix.Tasks.Runtime.Convex.{Audit, Reproject}
  alias OpenAgentsRuntime.Convex.{DiskEventLog, Reprojection, RunningNode, Sidecar}

  @moduletag timeout: 60_000

  defp vm(ids) do
    file = Path.join(tmp_dir(), "documents.jsonl")
    config = [sink: [type: :file, file: file]]
    children = [{DiskEventLog, dir: tmp_dir()}, {Sidecar, store_dir: Path.join(tmp_dir(), "store"), config: config}]
    vm = Vm.start(env: [convex_event_log: DiskEventLog], children: children)
    :ok = Vm.call(vm, :convex_sidecar, :await, [:convex_sidecar, 10_000])
    :ok = Vm.call(vm, Vm, :append, [ids, 3])
    :ok = Vm.call(vm, :convex_sidecar, :settle, [:convex_sidecar, 10_000])
    flush(vm)
    {vm, file}
  end

  defp flush(vm), do: {:ok, %{pending: 0}} = Vm.call(vm, :convex_sidecar, :flush, [:convex_sidecar, 20_000])
  # What was just projected is looked at twice more: until then a row that changes is projected by itself.
  defp looked_at(vm) do
    {:ok, %{looks: looks}} = Vm.call(vm, :convex_sidecar_instance, :lookup, [:convex_sidecar])
    wait_until(fn -> Vm.call(vm, :ets, :info, [looks, :size]) == 0 end, 20_000)
  end

  defp written(file, id), do: length(String.split(File.read!(file), ~s(document_id":"runtime/run_summary:#{id}","seq))) - 1

  test "the running node is found by epmd; a name that leads nowhere, and several, are told" do
    # VMs of the test before may still be ending.
    wait_until(fn -> RunningNode.find([]) == {:ok, nil} end)
    {vm, _file} = vm(["r"])
    assert RunningNode.find([]) == {:ok, vm.node}
    assert RunningNode.find(here: true) == {:ok, nil}
    assert RunningNode.find(node: to_string(vm.node)) == {:ok, vm.node}
    assert {:error, "--node nobody@127.0.0.1: no connection" <> _} = RunningNode.find(node: "nobody@127.0.0.1")
    assert {:error, "a VM with a sidecar runs on this machine" <> rest} = RunningNode.find([], :another_application)
    assert rest =~ "--node" and rest =~ "bin/APP rpc"
    {other, _file} = vm(["s"])
    assert {:error, "several VMs with a sidecar run here: say --node" <> both} = RunningNode.find([])
    assert both =~ to_string(other.node) and both =~ to_string(vm.node)
  end

  test "mix runtime.convex.reproject is done there: one, all, and in the dry form nothing" do
    {vm, file} = vm(~w(a b c))
    looked_at(vm)
    before = File.read!(file)
    :ok = Vm.call(vm, DiskEventLog, :update_row, [:run_summary, "b", %{status: "failed"}])
    :ok = Vm.call(vm, DiskEventLog, :create_run, ["new", %{status: "running"}])
    run = fn args -> capture_io(fn -> capture_io(:stderr, fn -> Reproject.run(args) end) end) end
    said = run.(["--all", "--dry-run"])
    assert said =~ "same: 2" and said =~ "different: 1" and said =~ "new: 1" and said =~ "nothing was written"
    assert run.(["--run-id", "b", "--dry-run"]) =~ "write=dry reason=different"
    assert File.read!(file) == before
    assert {:error, :not_found} = Vm.call(vm, :convex_sidecar, :checkpoint, [:convex_sidecar, "runtime/run_summary:new"])

    assert run.(["--run-id", "a"]) =~ "write=queued"
    flush(vm)
    times = written(file, "a")
    assert times >= 2
    assert capture_io(:stderr, fn -> capture_io(fn -> Reproject.run(["--all"]) end) end) =~ "in #{vm.node}"
    flush(vm)
    assert written(file, "new") == 1 and written(file, "a") == times + 1
    assert run.(["--all", "--dry-run"]) =~ "same: 4"
    export = Path.join(tmp_dir(), "history.jsonl")
    assert capture_io(:stderr, fn -> Mix.Tasks.Runtime.Convex.Export.run(["--to", export]) end) =~ "exported 4 entities"
    assert export |> File.read!() |> String.split("\n", trim: true) |> length() == 4
    assert_raise Mix.Error, ~r/the audit failed: .*(file|read)/, fn -> capture_io(:stderr, fn -> Audit.run([]) end) end
  end

  test "an external sidecar: the task's own VM speaks to it, too; --node has it done in the running one" do
    wait_until(fn -> RunningNode.find([]) == {:ok, nil} end)
    file = Path.join(tmp_dir(), "documents.jsonl")
    node = start_external([], type: :file, file: file)
    external = [mode: :external, node: node, cookie: Node.get_cookie()]
    # The database that both VMs read.
    log = MemoryLog.new()
    for id <- ~w(a b), do: MemoryLog.add(log, id, 2)
    env = [convex_event_log: Vm.SharedLog, shared_log: node()]
    vm = Vm.start(env: env, children: [{Sidecar, external}])
    :ok = Vm.call(vm, :convex_sidecar, :await, [:convex_sidecar, 10_000])
    :ok = Vm.call(vm, :convex_sidecar, :settle, [:convex_sidecar, 10_000])
    flush(vm)
    assert written(file, "a") == 1
    run = fn args -> capture_io(fn -> capture_io(:stderr, fn -> Reproject.run(args) end) end) end

    # No sidecar's name stands beside that VM's in epmd: the task starts the application, which is this VM here.
    assert RunningNode.find([]) == {:ok, nil}
    configure(:convex_event_log, MemoryLog)
    start_supervised!({Sidecar, [catch_up: false] ++ external})
    on_exit(fn -> :convex_sidecar_instance.close(:convex_sidecar) end)
    :ok = :convex_sidecar.await(:convex_sidecar, 10_000)
    assert run.(["--run-id", "a"]) =~ "write=queued"
    flush(vm)
    assert written(file, "a") == 2
    assert run.(["--all", "--dry-run", "--node", to_string(vm.node)]) =~ "same: 2"
    assert run.(["--run-id", "b", "--node", to_string(vm.node)]) =~ "write=queued"
    flush(vm)
    assert written(file, "b") == 2
  end

  test "a rebuild there is cancelled by who asked for it, and when who asked ends" do
    {vm, _file} = vm(for i <- 1..300, do: "r#{i}")
    call = fn client -> RunningNode.call(vm.node, Reprojection, :rebuild_all_for, [client, [max_concurrency: 1, results: :failed]]) end
    test = self()
    rebuild = Task.async(fn -> call.(test) end)
    assert_receive {:convex_rebuild_canceller, canceller}, 5000
    send(canceller, :cancel)
    assert {:ok, %{cancelled: true}} = Task.await(rebuild)

    {client, ref} = spawn_monitor(fn -> receive(do: ({:convex_rebuild, %{done: 1}} -> :ok)) end)
    assert {:ok, %{cancelled: true}} = call.(client)
    assert_received {:DOWN, ^ref, _, _, _}
  end
end
