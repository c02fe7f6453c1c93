defmodule Torture.World do
  @moduledoc """
  What suffers, and the ways to hurt it: an epmd, two stand-ins for Convex, of which the sidecar writes to one at a time, a managed
  sidecar on a store, and a file that is its clock.  Everything is ended by its process id.
  """

  defstruct [:name, :node, :dir, :standin, :other, :clock, :epmd]

  @sink [
    request_timeout_ms: 1000,
    connect_timeout_ms: 300,
    batch_documents: 24
  ]
  @delivery [mark_ms: 1000, min_interval_ms: 5, backoff_min_ms: 5, backoff_max_ms: 150, probe_ms: 100]

  @deaths __MODULE__.Deaths
  @destination __MODULE__.Destination

  @doc "`batch_mutation`: nil for the sidecar's own, \"\" for one document a call."
  def start(program, batch_mutation \\ nil) do
    dir = Path.join(System.tmp_dir!(), "torture_#{System.pid()}")
    File.mkdir_p!(dir)
    clock = Path.join(dir, "clock")
    File.write!(clock, <<0::64>>)
    System.put_env("TORTURE_CLOCK", clock)
    quiet(dir)
    epmd = start_epmd()
    {:ok, _} = :net_kernel.start([:"torture_#{System.pid()}@127.0.0.1", :longnames])
    [standin, other] = for _ <- 1..2, do: Standin.launch([{"STANDIN_LATENCY_MS", "0-4"}])
    :persistent_term.put(@destination, standin)

    node = :"tortured_#{System.pid()}@127.0.0.1"

    options = [
      name: :tortured,
      program: program,
      node: node,
      store_dir: Path.join(dir, "store"),
      config: fn -> [sink: Standin.sink(:persistent_term.get(@destination), sink(batch_mutation)), delivery: @delivery] end,
      backoff_min_ms: 10,
      backoff_max_ms: 200,
      drain_ms: 2000,
      sweep: Torture.Log,
      batch_limit: 64,
      request_ms: 2000
    ]

    {:ok, supervisor} = :convex_sidecar.start_link(options)
    Process.unlink(supervisor)

    world = %__MODULE__{
      name: :tortured,
      node: node,
      dir: dir,
      standin: standin,
      other: other,
      clock: clock,
      epmd: epmd
    }

    :ok = :convex_sidecar.await(world.name, 30_000)
    world
  end

  defp sink(nil), do: @sink
  defp sink(batch_mutation), do: [batch_mutation: batch_mutation] ++ @sink

  @doc "End all of it; the folder with store and log stays when something was wrong."
  def stop(world, keep?) do
    :convex_sidecar.stop(world.name)
    Standin.remove(world.standin)
    Standin.remove(world.other)
    kill(world.epmd, "TERM")
    unless keep?, do: File.rm_rf!(world.dir)
  end

  # Log lines go to a file.
  defp quiet(dir) do
    :logger.remove_handler(:default)
    Logger.remove_backend(:console)

    config = %{
      config: %{file: String.to_charlist(Path.join(dir, "log"))},
      formatter: {:logger_formatter, %{single_line: true}}
    }

    :ok = :logger.add_handler(:torture, :logger_std_h, config)
    :ets.new(@deaths, [:bag, :public, :named_table])
    :ok = :logger.add_handler(:torture_deaths, __MODULE__, %{})
  end

  @doc "Every dead letter there was, each time that a document died of it: `[{document_id, what was said}]`."
  def deaths, do: :ets.tab2list(@deaths)

  @doc false
  def log(%{meta: %{event: "outbox.dead_letter"}, msg: {_format, [text]}}, _config) do
    text = IO.chardata_to_string(text)

    case Regex.run(~r/document_id="?([^" ]+)/, text, capture: :all_but_first) do
      [id] -> :ets.insert(@deaths, {id, text})
      nil -> :ok
    end
  end

  def log(_event, _config), do: :ok

  @doc "Ends of the sidecar that nobody asked for: aborted, a broken access, what a sanitizer found.  SIGTERM ends one that has not begun."
  def crashes(world) do
    world.dir
    |> Path.join("log")
    |> File.stream!()
    |> Enum.filter(
      &(&1 =~
          ~r/sidecar\.exited instance=\S+ (signal=(?!9\b|15\b)|status=66\b)|Sanitizer: |runtime error: /)
    )
    |> Enum.map(&String.slice(&1, 0, 400))
  end

  @doc "The next start of the sidecar writes to the other deployment."
  def move(world) do
    :persistent_term.put(@destination, world.other)
    %{world | standin: world.other, other: world.standin}
  end

  # ---- epmd

  @doc "Start epmd, unless one listens there already (`current`); its process id."
  def start_epmd(current \\ nil) do
    if listening?(), do: current, else: launch_epmd()
  end

  defp listening?, do: match?({:ok, _}, :erl_epmd.names({127, 0, 0, 1}))

  # It ends at once while its port is taken (by what is left of connections to the one before).
  defp launch_epmd(tries \\ 100) do
    port = System.fetch_env!("ERL_EPMD_PORT")
    command = "exec epmd -port #{port} -address 127.0.0.1 -relaxed_command_check >/dev/null 2>&1"

    epmd = Port.open({:spawn_executable, System.find_executable("sh")}, [:binary, args: ["-c", command]])

    os_pid = with {:os_pid, pid} <- Port.info(epmd, :os_pid), do: pid
    listens = wait_until(fn -> listening?() or Port.info(epmd) == nil end, 10_000) and listening?()

    cond do
      listens and is_integer(os_pid) -> os_pid
      tries > 0 -> Process.sleep(100) && launch_epmd(tries - 1)
      true -> raise "epmd does not start on port #{port}"
    end
  end

  def kill_epmd(world), do: kill(world.epmd, "KILL")

  # ---- the sidecar

  @doc "The running program's process, or nil between two lives."
  def os_pid(world) do
    case :convex_sidecar_port.os_pid(world.name) do
      pid when is_integer(pid) -> pid
      _ -> nil
    end
  end

  @doc "Send a signal; nil and processes that are gone are nobody's harm."
  def kill(nil, _signal), do: :ok

  def kill(pid, signal) do
    System.cmd("kill", ["-#{signal}", "#{pid}"], stderr_to_stdout: true)
    :ok
  end

  @doc "Files can grow to `bytes` at most (`:unlimited`): how a full disk looks to one process."
  def limit_files(nil, _bytes), do: :ok

  def limit_files(pid, bytes) do
    System.cmd("prlimit", ["--pid", "#{pid}", "--fsize=#{bytes}:"], stderr_to_stdout: true)
    :ok
  end

  def store_bytes(world) do
    case File.stat(Path.join(world.dir, "store/data.mdb")) do
      {:ok, %{size: size}} -> size
      _ -> 0
    end
  end

  @doc "Move the sidecar's wall clock to `offset_ms` from the right time."
  def set_clock(world, offset_ms) do
    {:ok, file} = :file.open(world.clock, [:read, :write, :raw, :binary])
    :ok = :file.pwrite(file, 0, <<offset_ms * 1000::little-signed-64>>)
    :file.close(file)
  end

  @doc "Cut the connection between this VM and the sidecar."
  def disconnect(world), do: Node.disconnect(world.node)

  def wait_until(fun, timeout_ms) do
    wait_until_deadline(fun, System.monotonic_time(:millisecond) + timeout_ms)
  end

  defp wait_until_deadline(fun, deadline) do
    cond do
      value = fun.() -> value
      System.monotonic_time(:millisecond) > deadline -> false
      true -> Process.sleep(10) && wait_until_deadline(fun, deadline)
    end
  end
end
