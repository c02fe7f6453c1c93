# live.exs: the program and the functions are upgraded and rolled back, one at a time, while a VM goes on projecting.
#   WAY=sidecar_first    (1,1) the program -> (2,1) the functions -> (2,2) the functions back -> (2,1) the program back -> (1,1)
#   WAY=functions_first  (1,1) the functions -> (1,2) the program -> (2,2) the program back -> (1,2) the functions back -> (1,1)
# Started by test/upgrade/run, which names both programs, and puts one package or the other into the code path: what this VM
# runs stays as it is.  Functions 1 are those of 0.1.x in the stand-in, word for word.  Documents wait, kept, at each step; after each
# one everything that stands in Convex is compared with what was sent, and so is every commit with the one before.
for file <- ~w(support/standin.ex torture/documents.ex torture/oracle.ex torture/worker.ex), do: Code.require_file("../#{file}", __DIR__)

defmodule Live do
  alias Torture.{Log, Oracle, Worker}

  @workers 4
  @in_flight 30
  @migrations 2
  @settle_ms 60_000

  defstruct [:name, :dir, :ini, :store, :standin, :old, :new, :port, :os_pid, :manager, :oracle, :workers, :kills]

  def main do
    quiet()
    dir = System.fetch_env!("LIVE_DIR")
    node = :"live_#{System.pid()}@127.0.0.1"
    {:ok, _} = :net_kernel.start([:"live_vm_#{System.pid()}@127.0.0.1", :longnames])
    standin = Standin.launch([{"STANDIN_LATENCY_MS", "0-4"}])
    %{"functions" => 1} = Standin.deploy(standin, 1)

    live = %__MODULE__{
      name: :live,
      dir: dir,
      ini: Path.join(dir, "live.ini"),
      store: Path.join(dir, "live"),
      standin: standin,
      old: System.fetch_env!("OLD"),
      new: System.fetch_env!("NEW"),
      kills: div(String.to_integer(System.fetch_env!("KILLS")) + @migrations - 1, @migrations)
    }

    write_ini(live, node)
    Log.new()
    live = start(%{live | oracle: Oracle.new()}, live.old)
    {:ok, supervisor} = :convex_sidecar.start_link(name: live.name, mode: :external, node: node, batch_limit: 64, request_ms: 2000)
    Process.unlink(supervisor)
    :ok = :convex_sidecar.await(live.name, 30_000)
    stop_flag = :atomics.new(1, [])
    counter = :counters.new(1, [])
    workers = for i <- 1..@workers, do: Task.async(fn -> Worker.run(live.name, {i, 12, 7}, entities(i), counter, stop_flag) end)
    live = %{live | workers: Enum.map(workers, & &1.pid)}
    live = live |> confirmed(500) |> compare("the program 0.1.1 and its functions")

    live =
      case System.fetch_env!("WAY") do
        "sidecar_first" -> live |> program_up() |> functions(2) |> functions(1) |> program_back()
        "functions_first" -> live |> functions(2) |> program_up() |> program_back() |> functions(1)
      end

    :atomics.put(stop_flag, 1, 1)
    results = Task.await_many(workers, 2 * @settle_ms)
    live = compared(live, "the end", results)
    IO.puts("      #{live.oracle.seen} commits were judged, #{Oracle.versions()} versions sent, #{:counters.get(counter, 1)} answered kept")
    :convex_sidecar.stop(live.name)
    kill(live, "KILL")
    Standin.remove(standin)
  end

  defp quiet do
    :logger.remove_handler(:default)
    Logger.remove_backend(:console)
  end

  defp check(name, is_right, why \\ nil) do
    IO.puts((is_right && "ok    #{name}") || "FAIL  #{name}#{why && "\n      " <> String.slice(inspect(why, limit: 20), 0, 600)}")
  end

  defp entities(i) do
    ids = for n <- 1..60, do: {Enum.at([:run_summary, :codex_worker_summary], rem(n, 2)), "#{i}-#{n}"}

    %{
      project: List.to_tuple(Enum.slice(ids, 0..29)),
      upsert: List.to_tuple(Enum.slice(ids, 30..44)),
      log: List.to_tuple(Enum.slice(ids, 45..59)),
      # The package of 0.1.1 looks at nothing twice.
      rollbacks: :none
    }
  end

  # ---- the steps

  defp program_up(live) do
    n = kept_in_flight(live)
    live = live |> kill("KILL") |> kill_migrations(2)
    live = start(live, live.new)
    check("a start on format 1 migrates, and asks systemd for time", is_migrated(live), live.manager)
    live |> let_through() |> up() |> confirmed(200) |> compare("the new program, #{n} documents in flight at the change")
  end

  # The older one says what to do, and touches nothing.
  defp program_back(live) do
    n = kept_in_flight(live)
    live = kill(live, "KILL")
    before = inode(live)
    {said, status} = System.cmd(live.old, ["run", "--config", live.ini], stderr_to_stdout: true)
    [words] = Regex.run(~r/damaged \(directory: .*?\)/, said)
    explained = File.read!(Path.expand("../../docs/UPGRADING.md", __DIR__)) =~ words

    check(
      "0.1.1 does not start on format 2, touches nothing, and UPGRADING explains what it says",
      status != 0 and inode(live) == before and explained,
      said
    )

    live = kill_migrations(live, 1)
    {said, status} = System.cmd(live.new, ["store", "migrate", "--to", "1", "--store", live.store], stderr_to_stdout: true)
    check("migrate --to 1", status == 0, said)

    live
    |> start(live.old)
    |> let_through()
    |> up()
    |> confirmed(200)
    |> compare("the program rolled back, #{n} documents in flight at the change")
  end

  defp functions(live, version) do
    n = kept_in_flight(live)
    %{"functions" => ^version} = Standin.deploy(live.standin, version)
    live = live |> let_through() |> confirmed(200)

    case {:convex_sidecar.status(live.name), version} do
      {{:ok, %{functions: _}}, _} ->
        {:ok, _} = :convex_sidecar.reload(live.name)
        knows = wait(fn -> match?({:ok, %{functions: ^version}}, :convex_sidecar.status(live.name)) end)
        check("the program knows that they are functions #{version}", knows)

      _ ->
        :ok
    end

    live |> confirmed(200) |> compare("functions #{version}, #{n} documents in flight at the change")
  end

  # Nothing passes from now on, so that documents wait, some of them under way.
  defp kept_in_flight(live) do
    Standin.faults(live.standin, ~s({"kind":"worker_overloaded","times":0,"ms":20}))
    pending = fn -> with {:ok, %{metrics: %{pending: n}}} <- :convex_sidecar.status(live.name), do: n end

    wait(fn -> is_integer(pending.()) and pending.() >= @in_flight end) ||
      raise "no documents wait: #{inspect(:convex_sidecar.status(live.name))}"

    pending.()
  end

  defp let_through(live) do
    Standin.clear_faults(live.standin)
    live
  end

  # ---- what stands against what was sent

  defp compare(live, step) do
    parked = Worker.park(live.workers, :look)
    live = compared(live, step, Enum.map(parked, fn {_pid, _ref, result} -> result end))
    Worker.go(parked)
    live
  end

  defp compared(live, step, results) do
    quiet = with :ok <- :convex_sidecar.settle(live.name, @settle_ms), do: :convex_sidecar.flush(live.name, @settle_ms)
    check("#{step}: all is delivered", match?({:ok, %{pending: 0}}, quiet), quiet)
    {:ok, dead} = :convex_sidecar.dead_list(live.name)
    oracle = Oracle.judge(live.oracle, Standin.commits(live.standin, live.oracle.seen))
    expected = Enum.reduce(results, Log.expected(), &Map.merge(&2, &1.expected))
    {wrong, right} = Oracle.compare(expected, Standin.documents(live.standin))
    unexpected = Enum.flat_map(results, & &1.unexpected)
    check("#{step}: each of #{right} documents is what the log says, byte for byte; none is lost, none came back", wrong == [], wrong)

    check(
      "#{step}: no older version came over a newer one, none that was never sent",
      {oracle.backwards, oracle.foreign} == {[], []},
      oracle.backwards ++ oracle.foreign
    )

    check("#{step}: no dead letter, no answer that nobody expects", {dead, unexpected} == {[], []}, dead ++ unexpected)
    %{live | oracle: oracle}
  end

  # Until so many more commits are seen: traffic goes through.
  defp confirmed(live, more) do
    wanted = Standin.stat(live.standin, "documentsWritten") + more
    check("#{more} more documents are written", wait(fn -> Standin.stat(live.standin, "documentsWritten") >= wanted end))
    live
  end

  # ---- migrations that are killed

  defp kill_migrations(live, to) do
    before = counts(live)
    took_ms = trial_ms(live, to)
    {hits, wrong} = kill_again(live, to, took_ms, before, {0, []}, 20 * live.kills)

    check(
      "#{hits} migrations to format #{to} were killed in the middle, the store was whole after each",
      wrong == [] and hits >= live.kills,
      wrong
    )

    live
  end

  defp kill_again(_live, _to, _took_ms, _before, {hits, wrong}, 0), do: {hits, wrong}
  defp kill_again(%{kills: kills}, _to, _took_ms, _before, {hits, wrong}, _left) when hits >= kills, do: {hits, wrong}

  defp kill_again(live, to, took_ms, before, {hits, wrong}, left) do
    inode = inode(live)
    {port, pid} = spawn_program(live.new, "store migrate --to #{to} --store #{live.store}", "#{live.dir}/migrate")
    Process.sleep(:rand.uniform(took_ms))
    System.cmd("kill", ["-KILL", "#{pid}"], stderr_to_stdout: true)
    ended(port)
    is_hit = inode(live) == inode
    # It was faster: the other way round, without a kill.
    unless is_hit,
      do: {_, 0} = System.cmd(live.new, ["store", "migrate", "--to", "#{3 - to}", "--store", live.store], stderr_to_stdout: true)

    for old <- Path.wildcard("#{live.store}/data.mdb.format-*"), do: File.rm!(old)
    now = counts(live)
    wrong = if now == before, do: wrong, else: [{:after_kill, hits, now, before} | wrong]
    kill_again(live, to, took_ms, before, {hits + if(is_hit, do: 1, else: 0), wrong}, left - 1)
  end

  # How long one takes, on a copy.
  defp trial_ms(live, to) do
    copy = live.store <> ".copy"
    File.mkdir_p!(copy)
    File.cp!("#{live.store}/data.mdb", "#{copy}/data.mdb")
    {us, {_, 0}} = :timer.tc(fn -> System.cmd(live.new, ["store", "migrate", "--to", "#{to}", "--store", copy], stderr_to_stdout: true) end)
    File.rm_rf!(copy)
    max(5, div(us, 1000))
  end

  defp counts(live) do
    {text, status} = System.cmd(live.new, ["store", "check", "--store", live.store], stderr_to_stdout: true)
    {status, Regex.run(~r/\d+ pending \(\d+ bytes\), \d+ dead letters \(\d+ bytes\), \d+ checkpoints: sound/, text)}
  end

  defp inode(live), do: File.stat!("#{live.store}/data.mdb").inode

  # ---- the program

  defp write_ini(live, node) do
    File.write!(live.ini, """
    [node]
    name = #{node}
    cookie = #{Node.get_cookie()}
    [store]
    dir = #{live.store}
    [sink]
    type = http
    base_url = #{live.standin.url}
    admin_key = #{live.standin.admin_key}
    request_timeout_ms = 1000
    batch_documents = 24
    [delivery]
    min_interval_ms = 5
    backoff_min_ms = 5
    backoff_max_ms = 150
    probe_ms = 100
    """)

    File.chmod!(live.ini, 0o600)
  end

  defp start(live, program) do
    manager = Path.join(live.dir, "notify")
    File.rm(manager)
    {:ok, socket} = :gen_udp.open(0, [:binary, active: false, ifaddr: {:local, String.to_charlist(manager)}])

    {port, pid} =
      spawn_program(program, "run --config #{live.ini}", "#{live.dir}/live_out", [{~c"NOTIFY_SOCKET", String.to_charlist(manager)}])

    true = wait(fn -> File.read!("#{live.dir}/live_out") =~ ~r/^ready /m end)
    heard = heard(socket)
    :gen_udp.close(socket)
    %{live | port: port, os_pid: pid, manager: heard}
  end

  defp heard(socket) do
    case :gen_udp.recv(socket, 0, 2000) do
      {:ok, {_, _, "READY=1" <> _ = text}} -> [text]
      {:ok, {_, _, text}} -> [text | heard(socket)]
      {:error, why} -> [inspect(why)]
    end
  end

  defp is_migrated(live), do: Enum.any?(live.manager, &(&1 =~ "EXTEND_TIMEOUT_USEC=")) and List.last(live.manager) =~ "READY=1"

  defp up(live) do
    :ok = :convex_sidecar.await(live.name, 30_000)
    live
  end

  defp kill(live, signal) do
    System.cmd("kill", ["-#{signal}", "#{live.os_pid}"], stderr_to_stdout: true)
    ended(live.port)
    live
  end

  defp spawn_program(program, words, out, env \\ []) do
    File.write!(out, "")
    command = "exec #{program} #{words} >#{out} 2>>#{out}.log"
    port = Port.open({:spawn_executable, "/bin/sh"}, [:exit_status, args: ["-c", command], env: env])
    {:os_pid, pid} = Port.info(port, :os_pid)
    {port, pid}
  end

  defp ended(port) do
    receive do
      {^port, {:exit_status, status}} -> status
    end
  end

  defp wait(fun, deadline \\ System.monotonic_time(:millisecond) + @settle_ms) do
    cond do
      fun.() -> true
      System.monotonic_time(:millisecond) > deadline -> false
      true -> Process.sleep(10) && wait(fun, deadline)
    end
  end
end

Live.main()
