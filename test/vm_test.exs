defmodule VmTest do
  @moduledoc """
  Living with the VM: the events of the table in docs/FAULTS.md, each with the real program,
  real VMs, and Convex (the stand-in) where what arrives there is the question.
  """
  use SidecarCase, async: false

  alias OpenAgentsRuntime.Convex.{DiskEventLog, HttpSink, Sidecar, Sidecars}

  @moduletag timeout: 120_000
  @run "runtime/run_summary:"
  @t ~U[2026-02-19 20:00:00.123456Z]

  defp event(seq), do: %{seq: seq, event_type: "run.delta", inserted_at: @t}
  defp row, do: %{thread_id: "t", status: "running", updated_at: @t}
  defp ids(prefix, n), do: for(i <- 1..n, do: "#{prefix}#{i}")
  defp now_ms, do: System.monotonic_time(:millisecond)

  defp project(name, id, seq \\ 1, opts \\ %{}),
    do: :convex_sidecar.project(name, :run_summary, id, row(), Enum.map(1..seq, &event/1), opts)

  # A managed instance of the real program.
  defp managed(options \\ []) do
    name = Keyword.get_lazy(options, :name, &unique_name/0)
    node = :"v#{unique()}_#{System.pid()}@127.0.0.1"
    defaults = [name: name, node: node, store_dir: Path.join(tmp_dir(), "store"), backoff_min_ms: 20]
    start_instance(Keyword.merge(defaults, options))
    :ok = :convex_sidecar.await(name, 10_000)
    name
  end

  defp program, do: Application.app_dir(:convex_sidecar, "priv/convex_sidecar")
  defp os_pid(name), do: :convex_sidecar_port.os_pid(name)

  # A sidecar as systemd runs it: with a file, and nobody at its standard input.
  defp serve(dir, node, cookie, sections \\ "") do
    File.mkdir_p!(dir)
    file = Path.join(dir, "sidecar.ini")
    secret = Path.join(dir, "cookie")
    File.write!(secret, cookie)
    File.chmod!(secret, 0o600)
    store = Path.join(dir, "store")
    File.write!(file, "[node]\nname = #{node}\ncookie_file = #{secret}\n[store]\ndir = #{store}\n#{sections}")
    # Configuration in the environment (CONVEX_SIDECAR_...) is this test's builder's.
    ours = for {key, _} <- System.get_env(), String.starts_with?(key, "CONVEX_SIDECAR_"), do: {to_charlist(key), false}
    env = [{~c"ERL_EPMD_PORT", Integer.to_charlist(epmd_port())} | ours]
    args = ["run", "--config", file]
    port = Port.open({:spawn_executable, program()}, [:binary, :exit_status, :stderr_to_stdout, line: 4096, args: args, env: env])
    {:os_pid, pid} = Port.info(port, :os_pid)
    on_exit(fn -> Vm.signal(pid, "KILL") end)
    DistNodeCase.wait_line(%{port: port}, "ready node=")
    pid
  end

  defp gone(os_pid, ms), do: wait_until(fn -> not alive?(os_pid) end, ms)

  # Callers that go on and on, each waiting for its answer; stop_load/1 gives their answers.
  defp start_load(name, callers, opts) do
    stop = :atomics.new(1, [])
    tasks = for c <- 1..callers, do: Task.async(fn -> load(name, "load#{c}", 1, opts, stop, []) end)
    {stop, tasks}
  end

  defp load(name, id, seq, opts, stop, answers) do
    t0 = now_ms()
    answer = :convex_sidecar.project(name, :run_summary, id, row(), [event(seq)], opts)
    answers = [{answer, now_ms() - t0} | answers]
    seq = if match?({:ok, _}, answer), do: seq + 1, else: seq
    if :atomics.get(stop, 1) == 1, do: {id, seq - 1, answers}, else: load(name, id, seq, opts, stop, answers)
  end

  defp stop_load({stop, tasks}) do
    :atomics.put(stop, 1, 1)
    Task.await_many(tasks, 60_000)
  end

  defp failed(results), do: for({_, _, answers} <- results, {{:error, reason}, _} <- answers, do: reason)

  # A program that finds a unit's variables in its environment, whoever started it.
  defp program_in_a_unit(dir, notify_socket) do
    path = Path.join(dir, "program")
    unit = "NOTIFY_SOCKET=#{notify_socket} WATCHDOG_USEC=200000 WATCHDOG_PID=$$"
    File.write!(path, "#!/bin/sh\nexport #{unit}\nexec #{program()} \"$@\"\n")
    File.chmod!(path, 0o755)
    path
  end

  describe "the program" do
    test "a managed one does not speak for the unit of its VM" do
      dir = tmp_dir()
      path = Path.join(dir, "notify")
      {:ok, socket} = :gen_udp.open(0, [:binary, ifaddr: {:local, path}])
      name = managed(program: program_in_a_unit(dir, path))
      {:ok, _} = project(name, "r")
      assert {:ok, _} = :convex_sidecar.restart(name)
      :ok = stop_supervised(name)

      {:ok, other} = :gen_udp.open(0, [:binary, :local])
      :ok = :gen_udp.send(other, {:local, path}, 0, "ours")
      assert_receive {:udp, ^socket, _, _, first}
      assert first == "ours"
    end

    test "no thread of a managed one can gain anything: seccomp, no new privileges, no capability" do
      name = managed()
      {:ok, _} = project(name, "r")
      assert {:ok, %{sandbox: sandbox}} = :convex_sidecar.status(name)
      tasks = "/proc/#{os_pid(name)}/task"
      threads = for tid <- File.ls!(tasks), do: File.read!("#{tasks}/#{tid}/status")
      assert length(threads) > 4

      for status <- threads do
        assert status =~ ~r/^NoNewPrivs:\t1$/m
        assert status =~ ~r/^CapEff:\t0{16}$/m and status =~ ~r/^CapPrm:\t0{16}$/m
        # "partial" where a kernel, or another sandbox around us, does not let it.
        if sandbox =~ "seccomp", do: assert(status =~ ~r/^Seccomp:\t2$/m)
      end
    end

    test "several instances side by side, each with its own; two on one store are told" do
      [a, b] = [managed(), managed()]
      {:ok, _} = project(a, "r", 3)
      assert {:ok, %{seq: 3}} = :convex_sidecar.checkpoint(a, @run <> "r")
      assert {:error, :not_found} = :convex_sidecar.checkpoint(b, @run <> "r")
      {:ok, %{store: store}} = :convex_sidecar.status(a)
      watch_log()
      third = unique_name()
      start_instance(name: third, node: :"third_#{System.pid()}@127.0.0.1", store_dir: store)
      assert_receive {:log, :error, %{event: "sidecar.exited", instance: ^third}, text}, 10_000
      assert text =~ "it said:" and text =~ store
      assert {:ok, _} = :convex_sidecar.restart(b)
      assert {:ok, _} = :convex_sidecar.status(a)
    end

    test "the line of its start, status and the command line say whether documents go many a call" do
      http = [type: :http, base_url: "http://127.0.0.1:1", admin_key: "k|1"]

      for {own, on, mutation} <- [{[], true, "runtime:upsertBatch"}, {[batch_mutation: ""], false, ""}] do
        watch_log()
        name = managed(config: [sink: http ++ own])
        said = if on, do: "batching=on batch_mutation=#{mutation} store=", else: "batching=off store="
        assert_receive {:log, :info, %{event: "sidecar.ready", instance: ^name}, "sidecar.ready node=" <> line}, 5000
        assert line =~ said
        assert {:ok, %{batching: ^on, batch_mutation: ^mutation, store: store}} = :convex_sidecar.status(name)
        assert {text, 0} = System.cmd(program(), ["status", "--store", store])
        assert text =~ ~r/^batching +#{on}$/m and text =~ ~r/^batch_mutation +#{if on, do: mutation, else: "-"}$/m
        assert {json, 0} = System.cmd(program(), ["status", "--json", "--store", store])
        assert json =~ ~s("batching":#{on}) and json =~ ~s("batch_mutation":"#{mutation}")
      end
    end

    test "killed -9: callers know at once, those who wait get through, its last words are logged" do
      name = managed()
      watch_log()
      pid = os_pid(name)
      load = start_load(name, 8, %{wait: true, timeout: 20_000})
      wait_until(fn -> match?({:ok, %{metrics: %{kept_total: n}}} when n > 100, :convex_sidecar.status(name)) end)
      Vm.signal(pid, "KILL")
      assert_receive {:log, :error, %{event: "sidecar.exited", instance: ^name}, text}, 5000
      assert text =~ ~r/signal=9; it said: .*info sidecar.ready/
      # No zombie: the process id itself is gone.
      gone(pid, 1000)
      :ok = :convex_sidecar.await(name, 10_000)
      results = stop_load(load)
      assert failed(results) == []
      for {id, seq, _} <- results, do: assert({:ok, %{seq: ^seq}} = :convex_sidecar.checkpoint(name, @run <> id))
    end

    test "restart/1 under load: the gap, no call failed, no document lost" do
      standin = Standin.start()
      name = managed(config: [sink: Standin.sink(standin)])
      load = start_load(name, 8, %{wait: true, timeout: 20_000})

      gaps =
        for _ <- 1..3 do
          # Between two restarts the load runs for a while.
          {:ok, %{metrics: %{requests_total: before}}} = :convex_sidecar.status(name)
          wait_until(fn -> match?({:ok, %{metrics: %{requests_total: n}}} when n > before + 200, :convex_sidecar.status(name)) end)
          assert {:ok, %{gap_ms: gap}} = :convex_sidecar.restart(name)
          gap
        end

      results = stop_load(load)
      assert failed(results) == []
      assert Enum.max(gaps) < 2000
      assert {:ok, %{pending: 0}} = :convex_sidecar.flush(name, 20_000)
      documents = Standin.documents(standin)
      for {id, seq, _} <- results, do: assert(documents[@run <> id] =~ ~s("latest_seq":#{seq},))

      IO.puts(
        "    restart under load: gaps #{Enum.join(gaps, ", ")} ms, #{results |> Enum.map(&length(elem(&1, 2))) |> Enum.sum()} calls, 0 failed"
      )
    end

    test "without waiting, calls are answered at once while it is away" do
      name = managed()
      load = start_load(name, 4, %{timeout: 20_000})
      {:ok, _} = :convex_sidecar.restart(name)
      results = stop_load(load)
      assert Enum.all?(failed(results), &(&1 in [:unavailable, :draining]))
      assert Enum.all?(results, fn {_, _, answers} -> Enum.all?(answers, fn {_, ms} -> ms < 1000 end) end)
    end

    test "restart/1 does not wait for a Convex that is away; what is kept stays kept" do
      name = managed(config: [sink: [type: :http, base_url: "http://127.0.0.1:1", admin_key: "k|1"]])
      for id <- ids("r", 50), do: {:ok, _} = project(name, id)
      assert {:ok, %{gap_ms: gap}} = :convex_sidecar.restart(name)
      assert gap < 2000
      assert {:ok, %{metrics: %{pending: 50}}} = :convex_sidecar.status(name)
    end

    test "an operator's SIGTERM under load: its successor goes on, no call failed" do
      name = managed()
      pid = os_pid(name)
      load = start_load(name, 8, %{wait: true, timeout: 20_000})
      Vm.signal(pid, "TERM")
      wait_until(fn -> os_pid(name) not in [pid, nil] end, 10_000)
      :ok = :convex_sidecar.await(name, 10_000)
      results = stop_load(load)
      assert failed(results) == []
      for {id, seq, _} <- results, do: assert({:ok, %{seq: ^seq}} = :convex_sidecar.checkpoint(name, @run <> id))
    end

    test "a new binary is picked up by restart/1" do
      dir = tmp_dir()
      [old, new, link] = for n <- ~w(old new program), do: Path.join(dir, n)
      for path <- [old, new], do: File.cp!(program(), path)
      File.ln_s!(old, link)
      name = managed(program: link)
      {:ok, _} = project(name, "r", 2)
      assert File.read_link!("/proc/#{os_pid(name)}/exe") == old
      File.rm!(link)
      File.ln_s!(new, link)
      assert {:ok, _} = :convex_sidecar.restart(name)
      assert File.read_link!("/proc/#{os_pid(name)}/exe") == new
      assert {:ok, %{seq: 2}} = :convex_sidecar.checkpoint(name, @run <> "r")
    end

    test "a thousand callers at once, one of them with a row of 64 MB" do
      name = managed()
      large = :binary.copy("x", 64 * 1_048_576)

      refused =
        Task.async(fn ->
          :convex_sidecar.project(name, :run_summary, "large", Map.put(row(), :terminal_reason, large), [event(1)], %{timeout: 30_000})
        end)

      answers =
        1..1000
        |> Task.async_stream(&project(name, "m#{&1}", 1, %{wait: true, timeout: 30_000}), max_concurrency: 1000, timeout: 60_000)
        |> Enum.frequencies_by(fn {:ok, {tag, _}} -> tag end)

      # Without `wait: true` those behind the large one would be answered `busy` at once.
      assert answers == %{ok: 1000}
      # Larger than any document of Convex; the connection it came through goes on.
      assert {:error, {:invalid, _path, _why}} = Task.await(refused, 60_000)
      assert {:ok, %{metrics: %{kept_total: 1000}}} = :convex_sidecar.status(name)
    end

    test "more changes than the dirty set holds while it is away: all are projected on return" do
      log = MemoryLog.new()
      name = managed(dirty_limit: 20)
      pid = os_pid(name)
      Vm.signal(pid, "STOP")
      for id <- ids("d", 500), do: MemoryLog.add(log, id, 2)
      for id <- ids("d", 500), do: :ok = :convex_sidecar.project_async(name, :run_summary, id, log)
      assert %{dirty: dirty, sweeps: 1} = :convex_sidecar.backlog(name)
      # A batch that comes back is kept beside a set that has filled up meanwhile.
      assert dirty <= 2 * 20
      Vm.signal(pid, "KILL")
      assert :convex_sidecar.settle(name, 30_000) == :ok
      for id <- ids("d", 500), do: assert({:ok, %{seq: 2}} = :convex_sidecar.checkpoint(name, @run <> id))
    end
  end

  describe "frozen" do
    test "a flood at a program that does not read: busy or timeout within the timeout, and it recovers" do
      name = managed()
      log = MemoryLog.new()
      pid = os_pid(name)
      Vm.signal(pid, "STOP")
      large = String.duplicate("x", 100_000)

      answers =
        1..200
        |> Task.async_stream(
          fn i ->
            t0 = now_ms()

            answer =
              :convex_sidecar.project(name, :run_summary, "f#{i}", Map.put(row(), :terminal_reason, large), [event(1)], %{timeout: 300})

            {answer, now_ms() - t0}
          end,
          max_concurrency: 200,
          timeout: 20_000
        )
        |> Enum.map(fn {:ok, answer} -> answer end)

      assert Enum.all?(answers, fn {answer, _} -> answer in [{:error, :busy}, {:error, :timeout}] end)
      assert Enum.any?(answers, &match?({{:error, :busy}, _}, &1))
      # The timeout, and a busy machine's slack; GenServer.call would hang here for a minute.
      assert answers |> Enum.map(&elem(&1, 1)) |> Enum.max() < 2000

      # The asynchronous form does not even notice.
      for id <- ids("a", 200), do: MemoryLog.add(log, id, 1)

      slowest =
        for(id <- ids("a", 200), do: elem(:timer.tc(fn -> :convex_sidecar.project_async(name, :run_summary, id, log) end), 0)) |> Enum.max()

      assert slowest < 100_000

      Vm.signal(pid, "CONT")
      assert :convex_sidecar.settle(name, 20_000) == :ok
      assert {:ok, %{seq: 1}} = :convex_sidecar.checkpoint(name, @run <> "a200")
      assert os_pid(name) == pid
    end

    test "for good: cut off after net_ticktime, found silent, killed and replaced; nothing is lost" do
      dir = tmp_dir()

      env = [
        convex_event_log: DiskEventLog,
        convex_projection_sink: HttpSink,
        convex_http_sink: [base_url: "http://127.0.0.1:1", admin_key: "k|1"]
      ]

      children = [{DiskEventLog, dir: Path.join(dir, "log")}, {Sidecar, store_dir: Path.join(dir, "store")}]
      args = Enum.map(~w(-kernel net_ticktime 4 -kernel net_setuptime 1), &String.to_charlist/1)
      vm = Vm.start(env: env, children: children, args: args)
      :ok = Vm.call(vm, :convex_sidecar, :await, [:convex_sidecar, 10_000])
      :ok = Vm.call(vm, Vm, :append, [ids("z", 20), 2])
      :ok = Vm.call(vm, :convex_sidecar, :settle, [:convex_sidecar, 10_000])
      pid = Vm.call(vm, :convex_sidecar_port, :os_pid, [:convex_sidecar])
      on_exit(fn -> Vm.signal(pid, "KILL") end)
      Vm.signal(pid, "STOP")
      :ok = Vm.call(vm, Vm, :append, [ids("y", 20), 2])
      gone(pid, 30_000)
      :ok = Vm.call(vm, :convex_sidecar, :await, [:convex_sidecar, 10_000])
      :ok = Vm.call(vm, :convex_sidecar, :settle, [:convex_sidecar, 10_000])
      assert {:ok, %{metrics: %{pending: 40}}} = Vm.call(vm, :convex_sidecar, :status, [:convex_sidecar])
    end
  end

  describe "the VM" do
    setup do
      standin = Standin.start()
      dir = tmp_dir()

      env = [
        convex_event_log: DiskEventLog,
        convex_projection_sink: HttpSink,
        convex_http_sink: [base_url: standin.url, admin_key: standin.admin_key]
      ]

      start = fn opts ->
        {vm_opts, opts} = Keyword.split(opts, [:dynamic])
        sidecar = Keyword.merge([store_dir: Path.join(dir, "store"), drain_ms: 1000], opts)
        vm = Vm.start([env: env, children: [{DiskEventLog, dir: Path.join(dir, "log")}, {Sidecar, sidecar}]] ++ vm_opts)
        :ok = Vm.call(vm, :convex_sidecar, :await, [:convex_sidecar, 10_000])
        pid = Vm.call(vm, :convex_sidecar_port, :os_pid, [:convex_sidecar])
        on_exit(fn -> Vm.signal(pid, "KILL") end)
        {vm, pid}
      end

      %{standin: standin, start: start}
    end

    defp all_there?(standin, ids, seq) do
      documents = Standin.documents(standin)
      Enum.all?(ids, &((documents[@run <> &1] || "") =~ ~s("latest_seq":#{seq},)))
    end

    test "killed -9 with Convex away: the program ends within drain_ms, the next VM delivers", c do
      {vm, pid} = c.start.([])
      Standin.stop(c.standin)
      :ok = Vm.call(vm, Vm, :append, [ids("k", 100), 2])
      :ok = Vm.call(vm, :convex_sidecar, :settle, [:convex_sidecar, 10_000])
      Vm.kill(vm)
      t0 = now_ms()
      gone(pid, 10_000)
      # Well below the 10 s it would have without the option.
      assert now_ms() - t0 < 8000
      standin = Standin.start_again(c.standin)
      {_vm, _pid} = c.start.(catch_up: false)
      wait_until(fn -> all_there?(standin, ids("k", 100), 2) end, 20_000)
    end

    test "killed -9 while the program is stopped by SIGSTOP: it wakes up, and ends", c do
      {vm, pid} = c.start.([])
      Vm.signal(pid, "STOP")
      Vm.kill(vm)
      gone(pid, 10_000)
    end

    test "killed -9 between append and projection: the next start catches up", c do
      {vm, pid} = c.start.([])
      :ok = Vm.call(vm, Vm, :append, [ids("c", 50), 2])
      # Appended and never projected: the marks died with the VM.
      :ok = Vm.call(vm, Vm, :append, [ids("n", 50), 3, false])
      Vm.kill(vm)
      gone(pid, 10_000)
      {_vm, _pid} = c.start.([])
      wait_until(fn -> all_there?(c.standin, ids("c", 50), 2) and all_there?(c.standin, ids("n", 50), 3) end, 20_000)
    end

    test "an orderly stop hands over and delivers what is left", c do
      {vm, pid} = c.start.([])
      :ok = Vm.call(vm, Vm, :append, [ids("o", 200), 2])
      :ok = Vm.call(vm, Vm, :stop_vm, [])
      gone(vm.os_pid, 20_000)
      gone(pid, 1000)
      assert all_there?(c.standin, ids("o", 200), 2)
    end

    test "takes another name while it runs: the connection comes back by itself", c do
      {vm, pid} = c.start.(dynamic: true)
      :ok = Vm.call(vm, :net_kernel, :stop, [])
      assert {:error, :unavailable} = Vm.call(vm, :convex_sidecar, :status, [:convex_sidecar])
      :ok = Vm.call(vm, Vm, :append, [["renamed"], 2])
      {:ok, _} = Vm.call(vm, :net_kernel, :start, [[:"renamed_#{unique()}@127.0.0.1", :longnames]])
      :ok = Vm.call(vm, :convex_sidecar, :await, [:convex_sidecar, 10_000])
      :ok = Vm.call(vm, :convex_sidecar, :settle, [:convex_sidecar, 10_000])
      assert Vm.call(vm, :convex_sidecar_port, :os_pid, [:convex_sidecar]) == pid
      wait_until(fn -> all_there?(c.standin, ["renamed"], 2) end)
    end
  end

  describe "external" do
    test "found by name, lost and found again, with another cookie" do
      dir = tmp_dir()
      node = :"ext#{unique()}_#{System.pid()}@127.0.0.1"
      cookie = fn -> dir |> Path.join("cookie") |> File.read!() |> String.to_atom() end
      name = start_instance(name: unique_name(), mode: :external, node: node, cookie: cookie)
      assert project(name, "e") == {:error, :unavailable}
      pid = serve(dir, node, "first_cookie")
      :ok = :convex_sidecar.await(name, 10_000)
      {:ok, _} = project(name, "e", 2)
      Vm.signal(pid, "KILL")
      wait_until(fn -> :convex_sidecar_instance.destination(name) == :down end)
      task = Task.async(fn -> project(name, "e", 3, %{wait: true, timeout: 20_000}) end)
      serve(dir, node, "second_cookie")
      assert {:ok, %{seq: 3, lag_events: 1}} = Task.await(task, 20_000)
    end

    test "the connection is cut: back within a moment" do
      name = managed()
      {:ok, %{node: node}} = :convex_sidecar.status(name)
      load = start_load(name, 4, %{wait: true, timeout: 20_000})

      watch_log()

      for _ <- 1..3 do
        true = node |> String.to_atom() |> :erlang.disconnect_node()
        assert_receive {:log, :warning, %{event: "node.down", instance: ^name}, _}, 5000
        assert_receive {:log, :info, %{event: "node.up", instance: ^name}, _}, 5000
      end

      assert failed(stop_load(load)) == []
    end

    test "epmd goes and comes back: who is connected stays, who is not waits" do
      port = DistNodeCase.free_port()
      epmd = DistNodeCase.start_epmd(port)
      dir = tmp_dir()
      children = [{DiskEventLog, dir: Path.join(dir, "log")}, {:convex_sidecar, [store_dir: Path.join(dir, "store"), backoff_min_ms: 20]}]

      vm =
        Vm.start(
          epmd: port,
          children: children,
          env: [convex_event_log: DiskEventLog, convex_projection_sink: HttpSink, convex_sidecar: []]
        )

      :ok = Vm.call(vm, :convex_sidecar, :await, [:convex_sidecar, 10_000])
      Vm.signal(epmd, "KILL")
      gone(epmd, 5000)
      :ok = Vm.call(vm, Vm, :append, [ids("p", 5), 1])
      :ok = Vm.call(vm, :convex_sidecar, :settle, [:convex_sidecar, 5000])
      pid = Vm.call(vm, :convex_sidecar_port, :os_pid, [:convex_sidecar])
      Vm.signal(pid, "KILL")
      wait_until(fn -> match?({:error, :unavailable}, Vm.call(vm, :convex_sidecar, :status, [:convex_sidecar])) end)
      :ok = Vm.call(vm, Vm, :append, [ids("q", 5), 1])
      DistNodeCase.start_epmd(port)
      :ok = Vm.call(vm, :convex_sidecar, :await, [:convex_sidecar, 20_000])
      :ok = Vm.call(vm, :convex_sidecar, :settle, [:convex_sidecar, 10_000])
      assert {:ok, %{seq: 1}} = Vm.call(vm, :convex_sidecar, :checkpoint, [:convex_sidecar, @run <> "q5"])
    end
  end

  describe "another sink" do
    # A document kept while Convex is away; then [sink] type is changed by somebody, and back.
    test "what is kept for Convex is confirmed by nothing else, and delivered in the end" do
      dir = tmp_dir()
      store = Path.join(dir, "store")
      lines = Path.join(dir, "lines")
      away = [type: :http, base_url: "http://127.0.0.1:1", admin_key: "k|1"]
      kept = fn sink, id -> with_sink(store, sink, fn name -> {project(name, id), :convex_sidecar.status(name)} end) end

      assert {{:ok, _}, {:ok, _}} = kept.(away, "k1")
      assert {{:ok, _}, {:ok, noop}} = kept.([type: :noop], "k2")
      assert {{:ok, _}, {:ok, file}} = kept.([type: :file, file: lines], "k3")
      assert File.read!(lines) == ""

      for {status, type, pending} <- [{noop, "noop", 2}, {file, "file", 3}] do
        assert %{state: "stopped", sink: ^type, metrics: %{pending: ^pending, delivered_total: 0, stopped: 1}} = status
        assert status.why == "[sink] type is #{type}, but the documents of this store are kept for http: all wait, none is confirmed"

        assert status.next ==
                 "set [sink] type = http to deliver them, give #{type} a [store] dir of its own, " <>
                   "or say convex_sidecar adopt: what waits is confirmed to #{type} then"
      end

      standin = Standin.start()
      assert {:ok, %{pending: 0}} = with_sink(store, Standin.sink(standin), &:convex_sidecar.flush(&1, 20_000))
      assert map_size(Standin.documents(standin)) == 3

      # What Convex has confirmed is not noop's either: the newer version waits for Convex.
      assert {{:ok, %{seq: 2}}, {:ok, %{state: "stopped"}}} =
               with_sink(store, [type: :noop], &{project(&1, "k1", 2), :convex_sidecar.status(&1)})

      assert {:ok, %{pending: 0}} = with_sink(store, Standin.sink(standin), &:convex_sidecar.flush(&1, 20_000))
      assert Standin.documents(standin)[@run <> "k1"] =~ ~s("latest_seq":2)
    end

    test "a store that only had noop takes Convex" do
      store = Path.join(tmp_dir(), "store")
      assert {:ok, _} = with_sink(store, [type: :noop], &project(&1, "n1", 1, %{ack: :written}))
      standin = Standin.start()

      assert {:ok, _, %{state: "running", next: ""}} =
               with_sink(store, Standin.sink(standin), fn name ->
                 {:ok, _} = project(name, "n1", 2, %{ack: :written})
                 Tuple.insert_at(:convex_sidecar.status(name), 1, :written)
               end)

      assert map_size(Standin.documents(standin)) == 1
    end

    test "/readyz says what to do" do
      store = Path.join(tmp_dir(), "store")
      with_sink(store, [type: :http, base_url: "http://127.0.0.1:1", admin_key: "k|1"], &project(&1, "k1"))
      watch_log()
      managed(store_dir: store, config: [sink: [type: :noop], observe: [port: -1]])
      assert_receive {:log, :warning, %{event: "store.withheld"}, withheld}
      assert withheld =~ "sink=noop kept_for=http" and withheld =~ ~s(next="set [sink] type = http)
      assert_receive {:log, :info, %{event: "sidecar.ready"}, "sidecar.ready node=" <> _ = ready}
      [port] = Regex.run(~r/observe_port=(\d+)/, ready, capture: :all_but_first)
      {:ok, {{_, 503, _}, _, body}} = :httpc.request(~c"http://127.0.0.1:#{port}/readyz")
      assert to_string(body) =~ "delivery is stopped: [sink] type is noop"
      assert to_string(body) =~ "; next: set [sink] type = http to deliver them"
    end

    # Run the program on `store` with `sink` as long as `fun` takes.
    defp with_sink(store, sink, fun) do
      name = managed(store_dir: store, drain_ms: 200, config: [sink: sink])
      answer = fun.(name)
      :ok = stop_supervised(name)
      answer
    end
  end

  describe "several machines" do
    # Three runtimes over one event log, three sidecars, every runtime speaks to all three. One
    # machine dies for good, its runtime and its sidecar with the disk.
    test "one of three is lost: the others take over its entities, and nothing is lost" do
      standin = Standin.start()
      log = MemoryLog.new()
      dirs = for _ <- 1..3, do: tmp_dir()
      nodes = for i <- 1..3, do: :"shard#{i}_#{unique()}_#{System.pid()}@127.0.0.1"
      sink = "[sink]\ntype = http\nbase_url = #{standin.url}\nadmin_key = #{standin.admin_key}\n"
      sidecars = for {dir, node} <- Enum.zip(dirs, nodes), do: serve(dir, node, "shared_cookie", sink)
      names = for i <- 1..3, do: :"sidecar_#{i}"

      children =
        for {name, node} <- Enum.zip(names, nodes), do: {:convex_sidecar, [name: name, mode: :external, node: node, cookie: :shared_cookie]}

      env = [
        convex_event_log: Vm.SharedLog,
        shared_log: node(),
        convex_projection_sink: HttpSink,
        convex_sidecars: names
      ]

      vms = for _ <- 1..3, do: Vm.start(env: env, children: children)
      for vm <- vms, name <- names, do: :ok = Vm.call(vm, :convex_sidecar, :await, [name, 10_000])

      entities = ids("s", 300)
      for id <- entities, do: MemoryLog.add(log, id, 3)
      turns = fn vms -> entities |> Enum.zip(Stream.cycle(vms)) |> Enum.group_by(&elem(&1, 1), &elem(&1, 0)) end
      mark = fn vms -> for {vm, ids} <- turns.(vms), do: :ok = Vm.call(vm, Vm, :project_async, [ids]) end
      settle = fn vms, names -> for vm <- vms, name <- names, do: assert(:ok = Vm.call(vm, :convex_sidecar, :settle, [name, 20_000])) end
      mark.(vms)
      settle.(vms, names)
      wait_until(fn -> all_there?(standin, entities, 3) end, 20_000)

      # Each entity went to one sidecar, each sidecar has its share.
      kept = for name <- names, do: elem(Vm.call(hd(vms), :convex_sidecar, :status, [name]), 1).metrics.kept_total
      assert Enum.sum(kept) == 300
      assert Enum.all?(kept, &(&1 > 60))

      # The third machine takes what is on its disk, and what its runtime remembered, with it.
      [vm1, vm2, vm3] = vms
      for name <- names, do: {:ok, :paused} = Vm.call(vm1, :convex_sidecar, :pause, [name])
      for id <- entities, do: MemoryLog.append(log, id, 2)
      mark.(vms)
      settle.(vms, names)
      Vm.signal(List.last(sidecars), "KILL")
      Vm.kill(vm3)
      File.rm_rf!(List.last(dirs))
      rest = Enum.take(names, 2)
      for name <- rest, do: {:ok, :running} = Vm.call(vm1, :convex_sidecar, :resume, [name])

      # Its entities wait for it, until somebody says that it does not come back.
      for id <- entities, do: MemoryLog.append(log, id, 1)
      mark.([vm1, vm2])
      settle.([vm1, vm2], rest)
      for vm <- [vm1, vm2], do: assert(Vm.call(vm, :convex_sidecar, :backlog, [List.last(names)]).dirty > 0)
      refute all_there?(standin, entities, 6)

      assert {:ok, %{moved: moved}} = Vm.call(vm1, Sidecars, :put, [rest])
      assert {:ok, %{moved: 0}} = Vm.call(vm2, Sidecars, :put, [rest, [reproject: false]])
      assert moved == Enum.at(kept, 2)
      settle.([vm1, vm2], rest)
      wait_until(fn -> all_there?(standin, entities, 6) end, 20_000)

      for {_id, versions} <- Enum.group_by(Standin.history(standin), &elem(&1, 0)) do
        order = for {_, seq, at, _} <- versions, do: {seq, at}
        assert order == Enum.sort(order)
      end
    end
  end
end
