defmodule SidecarCase do
  @moduledoc """
  What tests of the BEAM side share: distribution, directories, waiting, fake sidecars.

  `mix test` needs an epmd. One that listens already on ERL_EPMD_PORT (or 4369) is used as it
  is; else one is started for the run, on loopback, and ended with it. Give a free port in
  ERL_EPMD_PORT to be alone: the BEAM reads it only when it starts.
  """
  use ExUnit.CaseTemplate

  using do
    quote do
      import SidecarCase
    end
  end

  setup do
    keys =
      [:convex_projection_sink, :convex_projection_version, :convex_http_sink] ++
        [:convex_sidecar, :convex_event_log, :convex_telemetry_handler, :convex_fanout_sinks] ++
        [:convex_kinds, :convex_projection_async, :convex_big_numbers, :convex_sink_checkpoint_limit]

    before = for key <- keys, do: {key, Application.get_env(:openagents_runtime, key)}
    OpenAgentsRuntime.Convex.SinkCheckpoints.forget_all()
    OpenAgentsRuntime.Convex.EventLog.forget_said()
    on_exit(fn -> Enum.each(before, fn {key, value} -> configure(key, value) end) end)
    :ok
  end

  @doc "Set (or, with nil, delete) a key of the runtime's configuration until the test ends."
  def configure(key, nil), do: Application.delete_env(:openagents_runtime, key)
  def configure(key, value), do: Application.put_env(:openagents_runtime, key, value)

  @doc "Make this VM a distributed node `NAME@127.0.0.1`; once, from test_helper.exs."
  def start_distribution do
    unless Node.alive?() do
      start_epmd(epmd_port())
      {:ok, _} = :net_kernel.start([:"test_#{System.pid()}@127.0.0.1", :longnames])
    end

    :ok
  end

  @doc "The port of the epmd that this VM speaks to."
  def epmd_port do
    case :init.get_argument(:epmd_port) do
      {:ok, [[port | _] | _]} -> List.to_integer(port)
      _ -> 4369
    end
  end

  defp start_epmd(port) do
    unless listening?() do
      program = System.find_executable("epmd") || raise "no epmd in the path"
      args = ["-port", "#{port}", "-address", "127.0.0.1"]
      epmd = Port.open({:spawn_executable, program}, [:binary, args: args])
      {:os_pid, pid} = Port.info(epmd, :os_pid)
      wait_until(&listening?/0)
      ExUnit.after_suite(fn _result -> System.cmd("kill", ["#{pid}"]) end)
    end
  end

  defp listening?, do: match?({:ok, _}, :erl_epmd.names({127, 0, 0, 1}))

  @doc "A directory of its own under the system's temporary one, removed when the test ends."
  def tmp_dir do
    dir = Path.join(System.tmp_dir!(), "convex_sidecar_#{System.pid()}_#{unique()}")
    File.mkdir_p!(dir)
    on_exit(fn -> File.rm_rf!(dir) end)
    dir
  end

  @doc "A number that no other caller gets."
  def unique, do: System.unique_integer([:positive, :monotonic])

  @doc "A name for an instance, or for a process."
  def unique_name(prefix \\ "instance"), do: :"#{prefix}_#{unique()}"

  @doc "Wait until `fun` gives something truthy, and give that; fail after `timeout_ms`."
  def wait_until(fun, timeout_ms \\ 5000) do
    deadline = System.monotonic_time(:millisecond) + timeout_ms
    wait_until_deadline(fun, deadline)
  end

  defp wait_until_deadline(fun, deadline) do
    cond do
      value = fun.() ->
        value

      System.monotonic_time(:millisecond) > deadline ->
        raise ExUnit.AssertionError, "waited in vain"

      true ->
        Process.sleep(5) && wait_until_deadline(fun, deadline)
    end
  end

  @doc "Start an instance under the test, and stop it (and forget its name) at the end."
  def start_instance(options) do
    name = Keyword.get(options, :name, :convex_sidecar)
    start_supervised!({:convex_sidecar, options}, id: name)
    on_exit(fn -> :convex_sidecar_instance.close(name) end)
    name
  end

  @doc "A fake sidecar in this VM and an instance that speaks to it; `{instance, fake}`."
  def start_fake(options \\ []) do
    fake = unique_name("fake")
    start_supervised!({FakeSidecar, fake}, id: fake)
    options = Keyword.merge([name: unique_name()], options)
    name = start_instance([mode: :external, node: node(), registered_name: fake] ++ options)
    :ok = :convex_sidecar.await(name, 5000)
    {name, fake}
  end

  @doc "A managed instance whose program is test/support/fake_program in the given mode."
  def start_program(mode, options \\ []) do
    dir = tmp_dir()
    config = [fake: [mode: mode, fake_dir: dir]]

    defaults = [name: unique_name(), node: node(), program: fake_program(), config: config]
    name = start_instance(Keyword.merge(defaults, options))
    {name, dir}
  end

  @doc """
  The real program, run by nobody's VM; gives its node. `node` and `sink` are keys of those sections. It ends with the
  calling process.
  """
  def start_external(node_keys \\ [], sink \\ [type: :noop]) do
    node = :"external_#{unique()}_#{System.pid()}@127.0.0.1"
    program = Application.app_dir(:convex_sidecar, "priv/convex_sidecar")
    child = Port.open({:spawn_executable, program}, [:binary, :exit_status, line: 1000, args: ["run", "--managed"]])
    keys = [name: node, cookie: Node.get_cookie()] ++ node_keys
    sections = [node: keys, sink: sink, store: [dir: Path.join(tmp_dir(), "store")]]
    Port.command(child, :convex_sidecar_config.ini(sections, []))
    ready = "ready node=#{node} "

    receive do
      {^child, {:data, {:eol, line}}} -> true = String.starts_with?(line, ready)
    after
      10_000 -> raise ExUnit.AssertionError, "the program is not ready"
    end

    node
  end

  @doc "The misbehaving program."
  def fake_program, do: Path.expand("fake_program", __DIR__)

  @doc "Whether an operating-system process lives."
  def alive?(os_pid),
    do: match?({_, 0}, System.cmd("kill", ["-0", "#{os_pid}"], stderr_to_stdout: true))

  @doc "Send all telemetry of the projector to this process, as `{:telemetry, name, measurements, metadata}`."
  def watch_telemetry do
    test = self()

    configure(:convex_telemetry_handler, fn event, measurements, metadata ->
      send(test, {:telemetry, List.last(event), measurements, metadata})
    end)
  end

  @doc """
  Send logger events of the domain `convex_sidecar` to this process, as `{:log, level, meta, text}`.
  """
  def watch_log do
    id = unique_name("log")
    :ok = :logger.add_handler(id, SidecarCase.LogHandler, %{config: %{test: self()}})
    on_exit(fn -> :logger.remove_handler(id) end)
  end

  defmodule LogHandler do
    @moduledoc false
    def log(%{level: level, msg: msg, meta: %{domain: [:convex_sidecar]} = meta}, %{config: config}) do
      send(config.test, {:log, level, meta, text(msg)})
    end

    def log(_event, _config), do: :ok

    defp text({:string, text}), do: IO.chardata_to_string(text)
    defp text({format, args}), do: format |> :io_lib.format(args) |> IO.chardata_to_string()
  end
end
