defmodule Mix.Tasks.Runtime.Convex.Reproject do
  @shortdoc "Rebuilds Convex documents from the runtime's history"
  @moduledoc """
  Rebuilds Convex documents from the runtime's history.

      mix runtime.convex.reproject --run-id run_123
      mix runtime.convex.reproject --worker-id codexw_123
      mix runtime.convex.reproject --kind invoice_summary --id inv_123
      mix runtime.convex.reproject --all [--kind run_summary] [--concurrency 8] [--resume FILE]

  `--all` shows how far it is: a bar on a terminal (count, rate, time left), a plain line every
  ten per cent or ten seconds elsewhere. The exit status is 1 when an entity failed, and each failed
  one is named.

  With `--resume FILE` it keeps in FILE where it stands, and goes on from there when FILE is there
  already; FILE is removed when all is done. So it may be ended at any time: with SIGTERM, SIGHUP
  or Ctrl-\\ the entities under way are finished first (exit status 1), with Ctrl-C at once.
  """
  use Mix.Task

  alias OpenAgentsRuntime.Convex.{Kinds, Reprojection}

  @switches [run_id: :string, worker_id: :string, id: :string, all: :boolean] ++
              [kind: :string, concurrency: :integer, resume: :string]
  @signals [:sigterm, :sighup, :sigquit]
  @bar_cells 24
  @bar_ms 100
  @line_ms 10_000

  @impl Mix.Task
  def run(args) do
    Mix.Task.run("app.config")
    opts = parse(args)
    Mix.Task.run("app.start")

    cond do
      opts[:all] -> all(opts)
      id = opts[:id] -> single(Reprojection.rebuild(kind(opts), id, waiting()))
      id = opts[:run_id] -> single(Reprojection.rebuild_run(id, waiting()))
      id = opts[:worker_id] -> single(Reprojection.rebuild_codex_worker(id, waiting()))
    end
  end

  # Checked before the application is started.
  defp parse(args) do
    {opts, rest, invalid} = OptionParser.parse(args, strict: @switches)
    chosen = Enum.count([:all, :run_id, :worker_id, :id], &opts[&1])

    cond do
      rest != [] or invalid != [] -> usage("not understood: #{inspect(rest ++ invalid)}")
      chosen != 1 -> usage("one of these is needed")
      opts[:id] && !opts[:kind] -> usage("--id goes with --kind")
      opts[:kind] && !(opts[:id] || opts[:all]) -> usage("--kind goes with --id or --all")
      opts[:kind] && !Kinds.find(opts[:kind]) -> usage("no kind of the event log: #{opts[:kind]}")
      Keyword.get(opts, :concurrency, 8) not in 1..256 -> usage("--concurrency is 1 to 256")
      opts[:resume] && !opts[:all] -> usage("--resume goes with --all")
      true -> opts
    end
  end

  defp usage(why) do
    Mix.raise("#{why}: provide --run-id <id>, --worker-id <id>, --kind <kind> --id <id>, or --all")
  end

  defp kind(opts), do: Kinds.find(opts[:kind]).name

  # The sidecar of an application that has just been started is not ready at once.
  defp waiting, do: [wait: true, timeout: 30_000]

  defp single({:ok, result}), do: Mix.shell().info("reproject " <> line(result))

  defp single({:error, result}) do
    Mix.shell().error("reproject " <> line(result))
    exit({:shutdown, 1})
  end

  defp all(opts) do
    resume = opts[:resume]
    kinds = if opts[:kind], do: [kind(opts)]
    terminal? = OpenAgentsRuntime.Convex.Terminal.bar?()
    canceller = Reprojection.canceller()

    {:ok, summary} =
      until_signal(canceller, fn ->
        Reprojection.rebuild_all(
          [progress: &show(&1, terminal?), max_concurrency: opts[:concurrency] || 8] ++
            [kinds: kinds, resume: resume, canceller: canceller, results: :failed]
        )
      end)

    if terminal?, do: IO.write("\n")
    Mix.shell().info("Convex reprojection summary:")
    Mix.shell().info("  total_entities: #{summary.total_entities}")
    Mix.shell().info("  succeeded_entities: #{summary.succeeded_entities}")
    Mix.shell().info("  failed_entities: #{summary.failed_entities}")
    for %{result: "error"} = result <- summary.results, do: Mix.shell().error("  " <> line(result))
    if summary[:cancelled], do: Mix.shell().error(cancelled(resume))
    if summary.failed_entities > 0 or summary[:cancelled], do: exit({:shutdown, 1})
    :ok
  end

  defp cancelled(nil), do: "cancelled: not all entities were rebuilt"
  defp cancelled(file), do: "cancelled: --resume #{file} goes on from here"

  # OTP's own handler would end the VM at once; it is away while we listen.
  defp until_signal(canceller, fun) do
    cancel = fn -> Reprojection.cancel(canceller) end
    for signal <- @signals, do: {:ok, _} = System.trap_signal(signal, {__MODULE__, signal}, cancel)
    _ = :gen_event.delete_handler(:erl_signal_server, :erl_signal_handler, :rebuilding)

    try do
      fun.()
    after
      :ok = :gen_event.add_handler(:erl_signal_server, :erl_signal_handler, [])
      for signal <- @signals, do: System.untrap_signal(signal, {__MODULE__, signal})
    end
  end

  # Not at every entity: at the end, and when so much time has gone by.
  defp show(%{done: done, total: total} = progress, terminal?) do
    now = System.monotonic_time(:millisecond)
    shown_at = Process.get(__MODULE__, now - @line_ms)
    step? = done > 0 and rem(done, max(div(total, 10), 1)) == 0

    cond do
      terminal? and (done == total or now - shown_at >= @bar_ms) ->
        Process.put(__MODULE__, now)
        IO.write("\r\e[K" <> bar(progress) <> text(progress))

      not terminal? and done > 0 and (done == total or step? or now - shown_at >= @line_ms) ->
        Process.put(__MODULE__, now)
        Mix.shell().info(text(progress))

      true ->
        :ok
    end
  end

  defp text(progress), do: progress_text(progress, progress.elapsed_ms)

  defp bar(%{done: done, total: total}) do
    share = done / max(total, 1)
    full = trunc(share * @bar_cells)
    cells = String.duplicate("=", full) <> if(full < @bar_cells, do: ">", else: "")
    "[#{String.pad_trailing(cells, @bar_cells)}] #{trunc(share * 100)}% "
  end

  @doc "How far a rebuild is, in words."
  @spec progress_text(Reprojection.progress(), non_neg_integer()) :: String.t()
  def progress_text(%{done: done, failed: failed, total: total}, elapsed_ms) do
    rate = done * 1000 / max(elapsed_ms, 1)
    left = if done > 0, do: "#{round((total - done) / rate)} s left", else: "starting"
    faults = if failed > 0, do: ", #{failed} failed", else: ""
    "#{done}/#{total}#{faults}, #{round(rate)}/s, #{left}"
  end

  defp line(item) do
    ~w(scope entity_id result write reason duration_ms)a
    |> Enum.reject(&(item[&1] == nil))
    |> Enum.map_join(" ", fn
      :entity_id -> "entity=#{item.entity_id}"
      key -> "#{key}=#{item[key]}"
    end)
  end
end
