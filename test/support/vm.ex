defmodule Vm do
  @moduledoc """
  A runtime in a BEAM of its own: an operating-system process that tests may kill, freeze and
  stop, with an event log, sidecars and the projector in it. Steered through its standard
  input and output (`:peer`), so it does not matter what becomes of its distribution.
  """
  import ExUnit.Callbacks, only: [on_exit: 1]
  alias OpenAgentsRuntime.Convex.{DiskEventLog, Projector}

  defstruct [:peer, :node, :os_pid]

  @doc """
  Start one. `:name`, `:args` (of erl), `:epmd` (its port), `:env` of :openagents_runtime,
  `:children` of the supervisor that stands for the runtime's; `dynamic: true` starts its
  distribution afterwards, so that it can be stopped again, `dynamic: :later` leaves it without one
  until `distribute/1`.
  """
  def start(opts \\ []) do
    name = Keyword.get(opts, :name, :"vm#{System.unique_integer([:positive])}_#{System.pid()}")
    epmd = Keyword.get(opts, :epmd, SidecarCase.epmd_port())

    called = if opts[:dynamic], do: %{}, else: %{name: name, host: ~c"127.0.0.1", longnames: true}

    {:ok, peer, _node} =
      :peer.start(
        Map.merge(called, %{
          connection: :standard_io,
          wait_boot: 30_000,
          env: [{~c"ERL_EPMD_PORT", Integer.to_charlist(epmd)}],
          args:
            [~c"-setcookie", Atom.to_charlist(Node.get_cookie()), ~c"-start_epmd", ~c"false"] ++
              [~c"-connect_all", ~c"false"] ++ Keyword.get(opts, :args, [])
        })
      )

    vm = %__MODULE__{peer: peer, node: :"#{name}@127.0.0.1"}
    if opts[:dynamic] == true, do: distribute(vm)
    vm = %{vm | os_pid: vm |> call(:os, :getpid, []) |> List.to_integer()}
    on_exit(fn -> signal(vm.os_pid, "KILL") end)
    call(vm, :code, :add_paths, [:code.get_path()])
    :ok = call(vm, __MODULE__, :boot, [opts[:env] || [], opts[:children] || []])
    vm
  end

  @doc "Start its distribution."
  def distribute(vm), do: {:ok, _} = call(vm, :net_kernel, :start, [[vm.node, :longnames]])

  @doc "What it has logged under this event: `[{level, text}]`, oldest first."
  def logged(vm, event), do: call(vm, __MODULE__, :kept, [event])

  @doc "Call a function there."
  def call(vm, module, function, args, timeout \\ 60_000),
    do: :peer.call(vm.peer, module, function, args, timeout)

  @doc "Kill it, and wait until it is gone."
  def kill(vm) do
    signal(vm.os_pid, "KILL")
    SidecarCase.wait_until(fn -> not SidecarCase.alive?(vm.os_pid) end)
  end

  def signal(os_pid, name), do: System.cmd("kill", ["-#{name}", "#{os_pid}"], stderr_to_stdout: true)

  # ---- runs inside

  @doc false
  def boot(env, children) do
    {:ok, _} = Application.ensure_all_started(:elixir)
    {:ok, _} = Application.ensure_all_started(:logger)
    for {key, value} <- env, do: Application.put_env(:openagents_runtime, key, value)
    # What it says goes nowhere: standard output is the way tests steer it.
    :logger.remove_handler(:default)
    Logger.remove_backend(:console)
    {:ok, _} = Agent.start(fn -> [] end, name: Vm.Log)
    :ok = :logger.add_handler(:kept, __MODULE__, %{})
    {:ok, _} = Application.ensure_all_started(:convex_sidecar)
    # An application, as runtimes are: an orderly stop of the VM stops it in order.
    words = [modules: [], registered: [], applications: [:kernel, :stdlib, :convex_sidecar], mod: {__MODULE__, children}]
    :ok = :application.load({:application, :vm_runtime, words})
    :application.start(:vm_runtime)
  end

  @doc false
  def log(%{level: level, msg: {format, args}, meta: %{event: event}}, _config) when is_list(args) do
    text = format |> :io_lib.format(args) |> IO.chardata_to_string()
    Agent.cast(Vm.Log, &[{event, level, text} | &1])
  end

  def log(_event, _config), do: :ok

  @doc false
  def kept(event),
    do: Vm.Log |> Agent.get(& &1) |> Enum.reverse() |> Enum.flat_map(fn {e, l, t} -> if e == event, do: [{l, t}], else: [] end)

  @doc false
  def start(:normal, children), do: Supervisor.start_link(children, strategy: :one_for_one)
  @doc false
  def stop(_state), do: :ok

  @doc "Runs `ids` with `n` events each in the DiskEventLog; projected (asynchronously) or not."
  def append(ids, n, project? \\ true) do
    for id <- ids do
      DiskEventLog.create_run(id, %{thread_id: "t", status: "running"})

      for _ <- 1..n do
        {:ok, _} = DiskEventLog.append_event(id, "run.delta")
        if project?, do: Projector.project_run_async(id)
      end
    end

    :ok
  end

  @doc "The asynchronous form for each of these runs."
  def project_async(ids), do: Enum.each(ids, &Projector.project_run_async/1)

  @doc "An orderly stop, as a release does it."
  def stop_vm, do: spawn(fn -> :init.stop() end) && :ok
end

defmodule Vm.SharedLog do
  @moduledoc "The test's MemoryLog, read from any VM: the database that several runtimes share."
  @behaviour OpenAgentsRuntime.Convex.EventLog

  @impl true
  def row(kind, id), do: there(:row, [kind, id])
  @impl true
  def events_after(kind, id, seq, limit), do: there(:events_after, [kind, id, seq, limit])
  @impl true
  def ids(kind, after_id, limit), do: there(:ids, [kind, after_id, limit])

  defp there(function, args) do
    :erpc.call(Application.fetch_env!(:openagents_runtime, :shared_log), MemoryLog, function, args)
  end
end
