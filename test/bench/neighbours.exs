# neighbours.exs - what one bad neighbour costs all others: p50 and p99 from append to confirmed.
#
#   make neighbours                        (SAMPLES=2000 RUNS=3; CASES="a g" picks some)
#
# The others are new runs with random ids, RATE a second, each in time whether or not those before it are
# answered, so that nobody who waits makes the next one late. "Confirmed" is the answer to a call with
# `ack => written`: kept, sent, answered by the Convex stand-in, and noted on disk. The fault begins when a tenth of
# the samples are under way. Each case has a sidecar and a store of its own; a run is all cases in order, the quiet
# ones first. Exit status 1: a target is missed, or something healthy is dead. Who was in the call that hangs
# shares its wait (sink.request_timeout_ms, for each halving): that is `most`, and `not confirmed in a minute`.
Code.require_file("kit.exs", __DIR__)

defmodule Bench.Neighbours do
  import Bench.Kit
  alias Bench.Source

  @samples String.to_integer(System.get_env("SAMPLES") || "2000")
  @runs String.to_integer(System.get_env("RUNS") || "3")
  @rate String.to_integer(System.get_env("RATE") || "250")
  @floor_ms 500.0
  @worker "runtime/codex_worker_summary:"
  @run "runtime/run_summary:"
  @one_a_call [batch_mutation: ""]
  # Its mutation is deployed nowhere.
  @invoice [prefix: "runtime/invoice:", entity: "invoice", id_field: "invoice_id", mutation: "billing:upsertInvoice", fields: "status"]

  def cases do
    [
      %{key: "-", name: "nothing", baseline: true},
      %{key: "a", name: "one call hangs", begin: &hang/1},
      %{key: "b", name: "ten documents always get 500", begin: &ten_500/1},
      %{key: "c", name: "a firewall refuses one", begin: &firewall/1},
      %{key: "d", name: "300 of one kind are refused", begin: &refused(&1, :codex_worker_summary, @worker)},
      %{key: "d2", name: "300 of their own kind are refused", begin: &refused(&1, :run_summary, @run)},
      %{key: "-1", name: "nothing, one a call", baseline: true, sink: @one_a_call},
      %{key: "e", name: "a kind is not deployed, one a call", begin: &not_deployed/1, sink: @one_a_call, against: "-1"},
      %{key: "f", name: "429 for ten seconds", begin: &busy/1, target: nil},
      %{key: "g", name: "a backlog of 60,000 (an outage)", before: &backlog(&1, %{}), target: 2000.0},
      %{key: "g2", name: "a backlog of 60,000 (a rebuild)", before: &backlog(&1, %{unless_ahead: true}), target: 2000.0}
    ]
  end

  # ---- the faults

  defp hang(s) do
    fault(~s({"kind":"hang","times":0,"match":{"text":"ill_hang"}}))
    keep(s, :run_summary, ["ill_hang"])
  end

  defp ten_500(s) do
    fault(~s({"kind":"internal","times":0,"match":{"text":"ill_500"}}))
    keep(s, :run_summary, for(i <- 1..10, do: "ill_500_#{i}"))
  end

  defp firewall(s) do
    fault(~s({"kind":"status","status":403,"times":0,"match":{"text":"ill_wall"}}))
    keep(s, :run_summary, ["ill_wall"])
  end

  defp refused(s, kind, prefix) do
    fault(~s({"kind":"refuse_item","match":{"document_id":"#{prefix}ill_*"}}))
    keep(s, kind, for(i <- 1..300, do: "ill_#{i}"))
  end

  defp not_deployed(s), do: keep(s, :invoice, for(i <- 1..100, do: "ill_#{i}"))
  defp busy(_s), do: fault(~s({"kind":"too_many_concurrent","for_ms":10000}))

  defp backlog(s, opts) do
    {:ok, :paused} = :convex_sidecar.pause(s.name)

    parallel(4, 120, fn _ ->
      keep_all(s, for(_ <- 1..500, do: Source.request(uuid()) |> put_elem(5, opts)))
    end)

    {:ok, :running} = :convex_sidecar.resume(s.name)
  end

  defp keep(s, kind, ids), do: keep_all(s, for(id <- ids, do: {:project, kind, id, row(kind, id), Source.events(), %{}}))

  defp keep_all(s, requests) do
    case :convex_sidecar.batch(s.name, requests, 60_000) do
      {:ok, replies} -> true = Enum.all?(replies, &match?({:ok, _}, &1))
      {:error, :busy} -> Process.sleep(10) && keep_all(s, requests)
    end
  end

  defp row(:run_summary, id), do: Source.row(id)
  defp row(_kind, _id), do: %{status: "running"}

  defp fault(json), do: standin(:post, "faults", json)

  defp standin(method, path, body \\ "") do
    url = ~c"#{ready("url")}/__standin/#{path}"
    request = if method == :post, do: {url, [], ~c"application/json", body}, else: {url, []}
    {:ok, {{_, 200, _}, _, _}} = :httpc.request(method, request, [timeout: 30_000], [])
  end

  # What tools/with-standin says of the stand-in.
  defp ready(field) do
    text = File.read!(Path.join(System.fetch_env!("STANDIN_STATE"), "ready.json"))
    [value] = Regex.run(~r/"#{field}": *"([^"]*)"/, text, capture: :all_but_first)
    value
  end

  # ---- one case

  defp measure(c) do
    standin(:post, "reset")
    s = start_sidecar(%{url: ready("url")}, sink: [admin_key: ready("admin_key")] ++ Map.get(c, :sink, []), config: kinds())
    warm_up(s)
    if c[:before], do: c.before.(s)
    {times, late} = samples(s, c[:begin] || fn _ -> :ok end)
    standin(:delete, "faults")
    pending = pending(s)
    dead = dead(s)
    healthy = Enum.reject(dead, &String.contains?(&1, "ill_"))
    stop_sidecar(s)

    %{
      p50: percentile(times, 0.5),
      p99: percentile(times, 0.99),
      max: Enum.max(times),
      late: late,
      healthy: length(healthy),
      dead: length(dead),
      pending: pending
    }
  end

  defp kinds, do: [{:"kind.invoice", @invoice}]

  defp warm_up(s) do
    for _ <- 1..50, do: {:ok, _} = project(s, 30_000)
    :ok
  end

  # From the time it was due to the answer, ms; `late`: how many got none in a minute, or another answer.
  defp samples(s, begin) do
    start = now_us()

    tasks =
      for i <- 1..@samples do
        if i == div(@samples, 10), do: Task.start_link(fn -> begin.(s) end)
        due = start + div(i * 1_000_000, @rate)
        wait_until(due)
        Task.async(fn -> {project(s, 60_000), (now_us() - due) / 1000} end)
      end

    answers = Task.await_many(tasks, 120_000)

    {Enum.map(answers, &elem(&1, 1)), Enum.count(answers, &(not match?({{:ok, %{write: "applied"}}, _}, &1)))}
  end

  defp wait_until(due) do
    left = div(due - now_us() + 999, 1000)
    if left > 0, do: Process.sleep(left)
  end

  defp project(s, timeout) do
    id = uuid()
    opts = %{ack: :written, deadline_ms: timeout, timeout: timeout}
    :convex_sidecar.project(s.name, :run_summary, id, Source.row(id), Source.events(), opts)
  end

  defp dead(s, from \\ nil) do
    {:ok, page} = if from, do: :convex_sidecar.dead_list(s.name, from), else: :convex_sidecar.dead_list(s.name)
    ids = Enum.map(page, & &1.document_id)
    if length(page) == 1000, do: ids ++ dead(s, List.last(ids)), else: ids
  end

  defp pending(s) do
    {:ok, %{metrics: %{pending: n}}} = :convex_sidecar.status(s.name)
    n
  end

  # ---- the table

  def run do
    {:ok, _} = Application.ensure_all_started(:inets)
    chosen = String.split(System.get_env("CASES") || "")
    cases = Enum.filter(cases(), &(chosen == [] or &1[:baseline] == true or &1.key in chosen))
    rounds = for n <- 1..@runs, do: Map.new(cases, fn c -> {c.key, shown(n, c, measure(c))} end)
    IO.puts("\nothers, append to confirmed, ms: #{@samples} samples at #{@rate}/s, median of #{@runs} runs; load #{load()}\n")
    IO.puts("| while | p50 | p99 | most | quiet p99 | target | | healthy dead | not confirmed in a minute |")
    IO.puts("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    verdicts = for c <- cases, do: line(c, Enum.map(rounds, & &1[c.key]), Enum.map(rounds, & &1[c[:against] || "-"]))
    IO.puts("\n#{Enum.count(verdicts, & &1)} of #{length(verdicts)} rows as wanted")
    unless Enum.all?(verdicts), do: System.at_exit(fn _ -> exit({:shutdown, 1}) end)
  end

  defp shown(n, c, m) do
    IO.puts(
      "run #{n}, #{c.name}: p50 #{ms(m.p50)}, p99 #{ms(m.p99)}, most #{ms(m.max)}; #{m.dead} dead, #{m.healthy} of them healthy, #{m.pending} pending, #{m.late} not confirmed"
    )

    m
  end

  defp line(c, rounds, quiet) do
    of = fn rounds, key -> rounds |> Enum.map(& &1[key]) |> median() end
    total = fn key -> rounds |> Enum.map(& &1[key]) |> Enum.sum() end
    {p99, quiet_p99} = {of.(rounds, :p99), of.(quiet, :p99)}
    target = if c[:baseline], do: nil, else: Map.get(c, :target, max(5 * quiet_p99, @floor_ms))
    well = (target == nil or p99 <= target) and total.(:healthy) == 0
    name = if c[:baseline], do: c.name, else: "(#{c.key}) #{c.name}"

    cells = [name, ms(of.(rounds, :p50)), ms(p99), ms(of.(rounds, :max)), ms(quiet_p99), if(target, do: "<= #{ms(target)}", else: "")]

    cells =
      cells ++
        [
          cond do
            not well -> "MISSED"
            target -> "met"
            true -> ""
          end,
          total.(:healthy),
          total.(:late)
        ]

    IO.puts("| #{Enum.join(cells, " | ")} |")
    well
  end

  defp load, do: File.read!("/proc/loadavg") |> String.split() |> hd()
  defp ms(n) when n >= 100, do: n |> round() |> Integer.to_string()
  defp ms(n), do: :erlang.float_to_binary(n / 1, decimals: 1)
end

Process.flag(:trap_exit, true)
:logger.set_primary_config(:level, :error)
Bench.Neighbours.run()
