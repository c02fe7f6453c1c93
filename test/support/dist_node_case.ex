defmodule DistNodeCase do
  @moduledoc """
  What tests of the C node from real BEAMs need: an epmd of their own, C nodes, BEAM nodes.

  The testing VM takes no part in the distribution: BEAM nodes are started with `:peer` over
  standard input and output, with ERL_EPMD_PORT set to the test's own epmd, and steered through
  that pipe.  So it does not matter how the testing VM was started, and no epmd but ours is touched.

  All that is started is ended when the test ends, by process id.
  """

  use ExUnit.CaseTemplate

  # Runs inside the BEAM nodes: loaded there as code, so that nothing of ours must be in their path.
  {:module, _, peer_code, _} =
    defmodule Peer do
      @moduledoc false

      # {result, milliseconds}; an exit of the call is a result as well.
      def call(server, request, timeout \\ 5000) do
        t0 = System.monotonic_time(:microsecond)

        result =
          try do
            GenServer.call(server, request, timeout)
          catch
            :exit, {reason, {GenServer, :call, _}} -> {:exit, reason}
          end

        {result, (System.monotonic_time(:microsecond) - t0) / 1000}
      end

      def casts(server, n), do: Enum.each(1..n, &GenServer.cast(server, {:count, &1}))

      # Every kind of term there is; the names of those that did not come back the same.
      def echo_all(server) do
        for {name, term} <- terms(), GenServer.call(server, {:echo, term}) !== term, do: name
      end

      def terms do
        [
          small: 7,
          integer: -123_456,
          int64: 0x7FFF_FFFF_FFFF_FFFF,
          big: 123_456_789_012_345_678_901_234_567_890,
          negative_big: -123_456_789_012_345_678_901_234_567_890,
          huge: Bitwise.bsl(1, 5000),
          float: 1.5e-300,
          atom: :atom,
          latin1_atom: :åö,
          utf8_atom: :日本,
          empty_atom: :"",
          binary: <<0, 255, 1>>,
          empty_binary: "",
          bits: <<5::3>>,
          nil: [],
          list: [1, :two, "three", [4]],
          improper: [1 | 2],
          string: ~c"abc",
          tuple: {1, {2, {3, {}}}},
          large_tuple: List.to_tuple(Enum.to_list(1..300)),
          map: %{"a" => 1, 1 => 2, b: %{c: []}},
          large_map: Map.new(1..100, &{&1, &1}),
          pid: self(),
          port: hd(Port.list()),
          reference: make_ref(),
          export: &Enum.map/2,
          fun: fn x -> x end,
          struct: ~U[2026-11-22 16:00:00.123456Z]
        ]
      end

      # Calls that come back with something else than asked for.
      def concurrently(server, callers, calls) do
        1..callers
        |> Enum.map(fn i ->
          Task.async(fn ->
            Enum.count(1..calls, &(GenServer.call(server, {:echo, {i, &1}}, 30_000) != {i, &1}))
          end)
        end)
        |> Task.await_many(60_000)
        |> Enum.sum()
      end

      # What lies in the mailbox after a reply that came too late.
      def late_reply(server) do
        {result, _} = call(server, {:later, 200, :late}, 20)
        Process.sleep(400)

        receive do
          message -> {result, message}
        after
          0 -> {result, :nothing}
        end
      end

      def echo_megabytes(server, megabytes) do
        b = :binary.copy(<<7, 1, 2, 3, 4, 5, 6, 7>>, megabytes * 131_072)
        GenServer.call(server, {:echo, b}, 60_000) == b
      end

      def too_large(server, megabytes) do
        call(server, {:echo, :binary.copy(<<7>>, megabytes * 1_048_576)}, 60_000)
      end

      # Large echoes for so long; true unless the connection broke meanwhile.
      def echo_during(server, node, ms) do
        :net_kernel.monitor_nodes(true, node_type: :all)
        true = echo_megabytes(server, 1)
        flush_nodeup(node)
        stop_at = System.monotonic_time(:millisecond) + ms

        same =
          Stream.repeatedly(fn -> echo_megabytes(server, 16) end)
          |> Enum.take_while(&(&1 && System.monotonic_time(:millisecond) < stop_at))
          |> Enum.all?()

        same and undisturbed()
      end

      def idle_during(server, node, ms) do
        :net_kernel.monitor_nodes(true, node_type: :all)
        {:ok, _} = call(server, {:echo, :ok})
        flush_nodeup(node)
        Process.sleep(ms)
        undisturbed() and match?({:ok, _}, call(server, {:echo, :ok}))
      end

      defp flush_nodeup(node) do
        receive do
          {:nodeup, ^node, _} -> :ok
        after
          100 -> :ok
        end
      end

      defp undisturbed do
        receive do
          {down, _, _} when down in [:nodedown, :nodeup] -> false
        after
          0 -> true
        end
      end

      # Asks for far more than is read: the answers come while this VM is stopped.
      def ask_for(server, answers, megabytes, after_ms) do
        b = :binary.copy(<<7>>, megabytes * 1_048_576)
        for _ <- 1..answers, do: :gen_server.send_request(server, {:later, after_ms, b})
        :ok
      end

      # How a monitor and a caller learn that the node was killed.
      def watch(server, parent_pid) do
        spawn(fn ->
          ref = Process.monitor(server)
          GenServer.call(server, {:echo, 1})
          caller = Task.async(fn -> call(server, {:later, 60_000, 1}, :infinity) end)
          {:ok, _} = call(server, {:echo, :ok})
          System.cmd("kill", ["-9", to_string(parent_pid)])
          t0 = System.monotonic_time(:millisecond)

          down =
            receive do
              {:DOWN, ^ref, :process, _, reason} -> reason
            after
              5000 -> :never
            end

          took = System.monotonic_time(:millisecond) - t0
          {exit, _} = Task.await(caller, 5000)
          :persistent_term.put(:watched, {down, took, exit})
        end)

        :ok
      end

      def watched(0), do: :never

      def watched(tries) do
        case :persistent_term.get(:watched, nil) do
          nil ->
            Process.sleep(50)
            watched(tries - 1)

          seen ->
            seen
        end
      end
    end

  @peer_code peer_code
  @cookie "a test's cookie"

  using do
    quote do
      import DistNodeCase
      alias DistNodeCase.Peer
    end
  end

  setup do
    port = free_port()
    epmd = start_epmd(port)
    {:ok, epmd_port: port, epmd: epmd}
  end

  @doc "The program under test: $DIST_NODE, or where the Makefile puts it."
  def dist_node do
    System.get_env("DIST_NODE") || Path.expand("../../build/dist_node", __DIR__)
  end

  def free_port do
    {:ok, s} = :gen_tcp.listen(0, ip: {127, 0, 0, 1})
    {:ok, port} = :inet.port(s)
    :gen_tcp.close(s)
    port
  end

  @doc "An epmd on loopback; its OS process id."
  def start_epmd(port) do
    program = System.find_executable("epmd")
    args = ["-port", to_string(port), "-address", "127.0.0.1"]
    os_pid = start_program(program, args, []).os_pid
    wait_until(fn -> listening?(port) end)
    os_pid
  end

  defp listening?(port) do
    case :gen_tcp.connect({127, 0, 0, 1}, port, [], 100) do
      {:ok, s} -> :gen_tcp.close(s) == :ok
      _ -> false
    end
  end

  @doc "A C node, ready: %{node, server, os_pid, port, tcp_port}. Options go on its command line."
  def start_c_node(context, options \\ []) do
    node = "c#{System.unique_integer([:positive])}@127.0.0.1"
    env = [{~c"ERL_EPMD_PORT", to_charlist(context.epmd_port)}]
    args = [node | Enum.map(options, fn {k, v} -> "#{k}=#{v}" end)]
    program = start_program(dist_node(), args, env)
    Port.command(program.port, [@cookie, "\n"])
    "port=" <> rest = wait_line(program, "ready ")
    {tcp_port, _} = Integer.parse(rest)
    node = String.to_atom(node)
    Map.merge(program, %{node: node, server: {:convex_sidecar, node}, tcp_port: tcp_port})
  end

  @doc "A BEAM node: the handle for `on/4`."
  def start_beam(context, options \\ []) do
    cookie = Keyword.get(options, :cookie, @cookie)
    name = Keyword.get(options, :name, "b#{System.unique_integer([:positive])}")
    arguments = Keyword.get(options, :args, [])

    {:ok, peer, node} =
      :peer.start_link(%{
        name: String.to_atom(name),
        host: ~c"127.0.0.1",
        longnames: true,
        connection: :standard_io,
        wait_boot: 30_000,
        env: [{~c"ERL_EPMD_PORT", to_charlist(context.epmd_port)}],
        args: [~c"-setcookie", to_charlist(cookie), ~c"-start_epmd", ~c"false"] ++ arguments
      })

    :peer.call(peer, :code, :add_paths, [:code.get_path()])
    {:module, Peer} = :peer.call(peer, :code, :load_binary, [Peer, ~c"peer", @peer_code])
    os_pid = :peer.call(peer, :os, :getpid, [])
    %{peer: peer, node: node, os_pid: List.to_integer(os_pid)}
  end

  @doc "Call a function of `Peer` on the BEAM node."
  def on(beam, function, args, timeout \\ 90_000) do
    :peer.call(beam.peer, Peer, function, args, timeout)
  end

  @doc "The same of any module."
  def on(beam, module, function, args, timeout) do
    :peer.call(beam.peer, module, function, args, timeout)
  end

  def signal(os_pid, name) do
    System.cmd("kill", ["-" <> name, to_string(os_pid)], stderr_to_stdout: true)
  end

  @doc "Wait for a line of the program that contains the text; what follows it in that line."
  def wait_line(program, text, ms \\ 10_000) do
    port = program.port

    receive do
      {^port, {:data, {_, line}}} ->
        case String.split(line, text, parts: 2) do
          [_, rest] -> rest
          _ -> wait_line(program, text, ms)
        end

      {^port, {:exit_status, status}} ->
        raise "the program ended with #{status} before it said #{inspect(text)}"
    after
      ms -> raise "the program did not say #{inspect(text)}"
    end
  end

  def wait_until(condition, tries \\ 200) do
    cond do
      condition.() ->
        :ok

      tries == 0 ->
        raise "the condition did not come true"

      true ->
        Process.sleep(50)
        wait_until(condition, tries - 1)
    end
  end

  # Ended by its own id when the test is over, if it has not ended by then.
  defp start_program(program, args, env) do
    port =
      Port.open(
        {:spawn_executable, program},
        [:binary, :exit_status, :stderr_to_stdout, line: 4096, args: args, env: env]
      )

    {:os_pid, os_pid} = Port.info(port, :os_pid)
    on_exit(fn -> signal(os_pid, "KILL") end)
    %{port: port, os_pid: os_pid}
  end
end
