defmodule Torture do
  @moduledoc """
  The promise under fire (`make torture`): what was answered "kept" reaches Convex, in order, byte for
  byte, whatever happens; and nothing else does.

  Processes write documents in every way there is (`Torture.Worker`) while a seeded schedule kills the
  sidecar and hurts all that it stands on (`Torture.Faults`).  `Torture.Oracle` judges every commit
  that the stand-in saw, and at the end, when faults are lifted, what stands there.

  When Convex is restored, wiped or exchanged, what the log has must stand at the end; of the rest no log tells.

  Bounds: each request is answered within 60 s, and 60 s after the last fault everything is delivered; what was rolled back
  in the log is gone 75 s after that.
  """

  alias Torture.{Faults, Log, Oracle, Worker, World}

  @settle_ms 60_000
  @look_ms 75_000
  @report_every 10
  @clear_every 4

  @doc "Run as the environment says; the exit status."
  def main do
    seed = number("SEED", :erlang.phash2({System.system_time(), System.pid()}))
    program = Path.expand(System.get_env("TORTURE_PROGRAM") || "build/torture/convex_sidecar")

    options = %{
      seed: seed,
      cycles: number("CYCLES", 20),
      entities: number("ENTITIES", 900),
      workers: number("WORKERS", 6),
      program: program,
      only: only(System.get_env("FAULTS")),
      batch_mutation: if(System.get_env("FORM") == "one", do: "")
    }

    File.regular?(program) || raise "#{program} is missing: make torture-program"

    IO.puts("torture: seed=#{seed} cycles=#{options.cycles} entities=#{options.entities} workers=#{options.workers} program=#{program}")

    report = run(options)
    IO.puts(summary(report))
    if report.faults == [], do: 0, else: 1
  end

  defp number(name, default) do
    case System.get_env(name) do
      given when given in [nil, ""] -> default
      given -> String.to_integer(given)
    end
  end

  defp only(given) when given in [nil, ""], do: Faults.names()
  defp only(given), do: Enum.filter(Faults.names(), &(Atom.to_string(&1) in String.split(given)))

  @doc "The run itself; `faults` of what it gives is [] when the promise held."
  def run(options) do
    :rand.seed(:exsss, options.seed)
    Log.new()
    oracle = Oracle.new()
    Faults.new()
    world = World.start(options.program, options.batch_mutation)
    kept = :counters.new(1, [:write_concurrency])
    stop_flag = :atomics.new(1, [])
    shares = shares(options)
    started = System.monotonic_time(:millisecond)

    workers =
      for {entities, i} <- Enum.with_index(shares),
          do:
            Task.async(fn ->
              Worker.run(world.name, {options.seed, i, 7}, entities, kept, stop_flag)
            end)

    named = Enum.flat_map(shares, &Enum.take(Tuple.to_list(&1.project), 5))

    state = %{
      world: world,
      oracles: %{world.standin.url => oracle, world.other.url => oracle},
      kept: kept,
      workers: Enum.map(workers, & &1.pid),
      unexpected: [],
      clears: 0,
      named: named,
      cycles: options.cycles,
      only: options.only,
      used: %{},
      started: started,
      never_up: 0
    }

    state = Enum.reduce(1..options.cycles//1, state, &cycle/2)
    results = finale(state, workers, stop_flag)
    report = settle(state, results)
    World.stop(state.world, report.faults != [] or System.get_env("KEEP") == "1")
    report
  end

  # The last versions of all documents meet every answer there is, and one more kill.
  defp finale(state, workers, stop_flag) do
    Faults.lift(state.world)
    if :answers in state.only, do: Faults.all_answers(state.world)
    :atomics.put(stop_flag, 1, 1)
    Process.sleep(100)
    if :kill in state.only, do: World.kill(World.os_pid(state.world), "KILL")
    results = Task.await_many(workers, 3 * @settle_ms)
    Process.sleep(if state.cycles > 0, do: 300, else: 0)
    Faults.lift(state.world)
    results
  end

  # Kinds, and ways to write, in even parts; each entity has one writer.
  defp shares(%{entities: entities, workers: workers, cycles: cycles}) do
    for i <- 1..workers do
      ids =
        for n <- 1..div(entities, workers),
            do: {Enum.at([:run_summary, :codex_worker_summary], rem(n, 2)), "#{i}-#{n}"}

      {project, rest} = Enum.split(ids, div(length(ids), 2))
      {upsert, log} = Enum.split(rest, div(length(rest), 2))

      %{
        project: List.to_tuple(project),
        upsert: List.to_tuple(upsert),
        log: List.to_tuple(log),
        rollbacks: rollbacks(cycles)
      }
    end
  end

  # A short run does not wait for what is rolled back last.
  defp rollbacks(cycles), do: if(cycles < 20, do: :some, else: :last)

  # ---- a cycle

  # A sidecar that does not come back is the end of it.
  defp cycle(_n, %{never_up: never_up} = state) when never_up > 0, do: state

  defp cycle(n, state) do
    plan = Faults.plan(700 + :rand.uniform(800), state.only)
    clearing = if rem(n, @clear_every) == 0, do: Task.async(fn -> clear_all(state) end)
    world = follow(plan, state.world, state.named, System.monotonic_time(:millisecond))
    up = :convex_sidecar.await(world.name, 15_000)
    unexpected = if clearing, do: Task.await(clearing, 3 * @settle_ms), else: []

    used =
      Enum.reduce(plan, state.used, fn {_, step}, used ->
        if elem(step, 0) == :begin, do: Map.update(used, elem(step, 1), 1, &(&1 + 1)), else: used
      end)

    state = %{
      state
      | world: world,
        used: used,
        clears: state.clears + if(clearing, do: 1, else: 0),
        unexpected: unexpected ++ state.unexpected,
        never_up: state.never_up + if(up == :ok, do: 0, else: 1)
    }

    if rem(n, 3) == 0, do: Faults.forgive(world)
    if rem(n, 3) == 1 and :restored in state.only, do: Faults.remember(world)
    if rem(n, @report_every) == 0, do: progress(n, watch(state)), else: state
  end

  # Everything goes, while the cycle's faults begin; the workers stand still until that is answered.
  defp clear_all(state) do
    parked = Worker.park(state.workers, :clear)
    deadline = System.monotonic_time(:millisecond) + @settle_ms
    wrong = until_cleared(state.world.name, deadline)
    Worker.go(parked)
    wrong
  end

  defp until_cleared(name, deadline) do
    case :convex_sidecar.call(name, {:clear, :all}, %{timeout: 10_000}) do
      {:ok, %{cleared: _} = answer} when not is_map_key(answer, :refused) ->
        []

      answer ->
        if again?(answer) and System.monotonic_time(:millisecond) < deadline do
          Process.sleep(:rand.uniform(20))
          until_cleared(name, deadline)
        else
          [{:clear_all, answer}]
        end
    end
  end

  defp again?({:error, {:store, _}}), do: true
  defp again?({:error, reason}), do: reason in [:busy, :draining, :timeout, :unavailable]
  defp again?(_answer), do: false

  defp follow(plan, world, named, t0) do
    Enum.reduce(plan, world, fn {at, step}, world ->
      Process.sleep(max(0, t0 + at - System.monotonic_time(:millisecond)))
      if System.get_env("VERBOSE") == "1", do: IO.puts("  #{at} #{inspect(step)}")
      Faults.step(world, step, named)
    end)
  end

  # The commits so far, of each deployment by itself; of one that is away, next time.
  defp watch(state) do
    oracles =
      for standin <- [state.world.standin, state.world.other], into: %{} do
        oracle = state.oracles[standin.url]

        try do
          {standin.url, Oracle.judge(oracle, Standin.commits(standin, oracle.seen))}
        rescue
          _ -> {standin.url, oracle}
        end
      end

    %{state | oracles: oracles}
  end

  defp progress(n, state) do
    o = Oracle.sum(Map.values(state.oracles))
    seconds = div(System.monotonic_time(:millisecond) - state.started, 1000)

    IO.puts(
      "  cycle #{n}/#{state.cycles}: #{seconds} s, kept #{:counters.get(state.kept, 1)}, written #{o.written}, removed #{o.removed}, backwards #{length(o.backwards)}, foreign #{length(o.foreign)}"
    )

    state
  end

  # ---- the end

  defp settle(state, results) do
    name = state.world.name
    t0 = System.monotonic_time(:millisecond)

    settled =
      with :ok <- :convex_sidecar.settle(name, @settle_ms),
           {:ok, %{pending: 0}} <- flush(name),
           do: :ok

    took = System.monotonic_time(:millisecond) - t0
    dead = dead(name)
    retried = if dead == [], do: {:ok, %{retried: 0}}, else: :convex_sidecar.dead_retry(name, :all)
    settled_again = with {:ok, _} <- retried, {:ok, %{pending: 0}} <- flush(name), do: :ok
    still_dead = dead(name)
    expected = Enum.reduce(results, Log.expected(), &Map.merge(&2, &1.expected))
    {wrong, right} = right_at_last(state.world, expected, System.monotonic_time(:millisecond) + @look_ms)
    oracle = Oracle.sum(Map.values(watch(state).oracles))

    faults =
      [
        settled != :ok && {:not_settled, settled, :convex_sidecar.status(name)},
        settled_again != :ok && {:not_settled_after_retry, settled_again},
        still_dead != [] && {:still_dead, Enum.take(still_dead, 5)},
        Enum.any?(dead, &(&1.why == "")) && :dead_without_reason,
        state.never_up > 0 && {:did_not_come_back, state.never_up}
      ]
      |> Enum.filter(& &1)

    healthy_dead = Enum.reject(World.deaths(), fn {id, _why} -> Faults.ever_ill?(id) end)

    faults =
      faults ++
        Enum.map(healthy_dead, &{:healthy_dead, &1}) ++
        state.unexpected ++
        Enum.map(World.crashes(state.world), &{:crashed, &1}) ++
        Enum.flat_map(results, & &1.unexpected) ++
        wrong ++ oracle.backwards ++ oracle.foreign

    %{
      oracle: oracle,
      world: state.world,
      cycles: state.cycles,
      used: state.used,
      seconds: div(System.monotonic_time(:millisecond) - state.started, 1000),
      documents: map_size(expected),
      versions: Oracle.versions(),
      kept: Enum.sum(Enum.map(results, & &1.kept)),
      retries: Enum.sum(Enum.map(results, & &1.retries)),
      right: right,
      lost: Enum.count(wrong, &match?({what, _} when what != :resurrected, &1)),
      resurrected: Enum.count(wrong, &match?({:resurrected, _}, &1)),
      dead: length(dead),
      deaths: length(World.deaths()),
      healthy_dead: length(healthy_dead),
      clears: state.clears,
      settled_ms: took,
      faults: faults
    }
  end

  # What was rolled back is still there for a while: the last look at it comes half a minute later.
  defp right_at_last(world, expected, deadline) do
    case compare(expected, Standin.documents(world.standin)) do
      {[_ | _] = wrong, right} ->
        if System.monotonic_time(:millisecond) < deadline do
          Process.sleep(500)
          right_at_last(world, expected, deadline)
        else
          {wrong, right}
        end

      right ->
        right
    end
  end

  # A deployment that was not there when a document was cleared, or has forgotten it, has what no log can put right.
  defp compare(expected, standing) do
    {wrong, right} = Oracle.compare(expected, standing)
    log = Log.expected()
    {if(Faults.otherside?(), do: Enum.filter(wrong, fn {_, id} -> is_map_key(log, id) end), else: wrong), right}
  end

  defp flush(name), do: :convex_sidecar.flush(name, @settle_ms)

  defp dead(name, last \\ nil) do
    {:ok, page} = if last, do: :convex_sidecar.dead_list(name, last), else: :convex_sidecar.dead_list(name)

    if page == [], do: [], else: page ++ dead(name, List.last(page).document_id)
  end

  defp summary(r) do
    told =
      for fault <- Enum.take(r.faults, 20),
          do: "  WRONG #{inspect(fault, limit: 40, printable_limit: 300)}\n"

    more = if length(r.faults) > 20, do: "  ... and #{length(r.faults) - 20} more\n", else: ""
    where = if r.faults == [], do: "", else: "  log and store: #{r.world.dir}\n"

    """
    #{told}#{more}#{where}torture: cycles #{r.cycles}, kills #{Map.get(r.used, :kill, 0)}, all cleared #{r.clears}, #{r.seconds} s
    #{Enum.map_join(Map.delete(r.used, :kill), ", ", fn {fault, n} -> "#{fault} #{n}" end)}
      documents #{r.documents}, versions sent #{r.versions}, answered kept #{r.kept}, requests repeated #{r.retries}
      written #{r.oracle.written}, removed #{r.oracle.removed}, right at the end #{r.right}, died #{r.deaths}, dead at the end #{r.dead}, settled in #{r.settled_ms} ms
      lost #{r.lost}, backwards #{length(r.oracle.backwards)}, foreign #{length(r.oracle.foreign)}, resurrected #{r.resurrected}, healthy dead #{r.healthy_dead}, other faults #{others(r)}\
    """
  end

  defp others(r),
    do: length(r.faults) - r.lost - r.resurrected - r.healthy_dead - length(r.oracle.backwards) - length(r.oracle.foreign)
end
