defmodule Mix.Tasks.Runtime.Convex.Reproject do
  @shortdoc "Rebuilds Convex documents from the runtime's history"
  @moduledoc """
  Rebuilds Convex documents from the runtime's history.

      mix runtime.convex.reproject --run-id run_123
      mix runtime.convex.reproject --worker-id codexw_123
      mix runtime.convex.reproject --kind invoice_summary --id inv_123
      mix runtime.convex.reproject --all [--kind run_summary] [--concurrency 8] [--resume FILE]
      mix runtime.convex.reproject --all --dry-run

  If the application already runs on this machine with a managed sidecar, the rebuild runs in that VM, which is
  found through epmd and connected with this user's cookie. `--node NAME` and `--cookie COOKIE` override both;
  `--here` starts the application in this VM. A release has no mix: `bin/APP rpc`, docs/REBUILD.md, "Rebuild".

  `--dry-run` writes nothing, and counts the documents of which the sidecar has nothing (new), the same,
  something different, or a later event (ahead).

  `--all` shows its progress: on a terminal a bar (count, rate, time left), elsewhere a plain line every
  ten per cent or ten seconds. The exit status is 1 if an entity failed, and each failed entity is named.

  With `--resume FILE` the task keeps its position in FILE, and continues from there if FILE exists;
  FILE is removed when all is done. So the task may be ended at any time: with SIGTERM, SIGHUP
  or Ctrl-\\ it first finishes the entities under way (exit status 1), with Ctrl-C it ends at once.
  """
  use Mix.Task

  alias OpenAgentsRuntime.Convex.{Kinds, Reprojection, RunningNode}

  @switches RunningNode.switches() ++
              [dry_run: :boolean] ++
              [run_id: :string, worker_id: :string, id: :string, all: :boolean] ++
              [kind: :string, concurrency: :integer, resume: :string]
  @signals [:sigterm, :sighup, :sigquit]
  @bar_cells 24
  @bar_ms 100
  @line_ms 10_000

  @impl Mix.Task
  def run(args) do
    Mix.Task.run("app.config")
    opts = parse(args)
    node = at(opts)

    cond do
      opts[:all] -> all(opts, node)
      id = opts[:id] -> single(node, :rebuild, [kind(opts), id, waiting(opts)])
      id = opts[:run_id] -> single(node, :rebuild_run, [id, waiting(opts)])
      id = opts[:worker_id] -> single(node, :rebuild_codex_worker, [id, waiting(opts)])
    end
  end

  # Where the rebuild runs: nil is this VM, in which the application is then started.
  @doc false
  def at(opts) do
    case RunningNode.find(opts, Mix.Project.config()[:app]) do
      {:ok, nil} ->
        Mix.Task.run("app.start")
        nil

      {:ok, node} ->
        IO.puts(:stderr, "in #{node}")
        node

      {:error, why} ->
        Mix.raise(why)
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
      opts[:resume] && opts[:dry_run] -> usage("--dry-run has nothing to resume")
      true -> opts
    end
  end

  defp usage(why) do
    Mix.raise("#{why}: provide --run-id <id>, --worker-id <id>, --kind <kind> --id <id>, or --all")
  end

  defp kind(opts), do: Kinds.find(opts[:kind]).name

  # The sidecar of an application that has just started is not ready at once.
  defp waiting(opts), do: [wait: true, timeout: 30_000, dry_run: opts[:dry_run] || false]

  defp single(node, function, args) do
    case RunningNode.call(node, Reprojection, function, args) do
      {:ok, result} ->
        Mix.shell().info("reproject " <> line(result))

      {:error, result} ->
        Mix.shell().error("reproject " <> line(result))
        exit({:shutdown, 1})
    end
  end

  defp all(opts, node) do
    resume = opts[:resume] && Path.expand(opts[:resume])
    kinds = if opts[:kind], do: [kind(opts)]
    terminal? = OpenAgentsRuntime.Convex.Terminal.bar?()

    {:ok, summary} =
      rebuilt(node, terminal?,
        max_concurrency: opts[:concurrency] || 8,
        kinds: kinds,
        resume: resume,
        results: :failed,
        dry_run: opts[:dry_run] || false
      )

    if terminal?, do: IO.write("\n")
    Mix.shell().info("Convex reprojection summary:")
    Mix.shell().info("  total_entities: #{summary.total_entities}")
    Mix.shell().info("  succeeded_entities: #{summary.succeeded_entities}")
    Mix.shell().info("  failed_entities: #{summary.failed_entities}")
    for {reason, n} <- summary[:reasons] || [], do: Mix.shell().info("  #{reason}: #{n}")
    if summary[:reasons], do: Mix.shell().info("  nothing was written (--dry-run)")
    for %{result: "error"} = result <- summary.results, do: Mix.shell().error("  " <> line(result))
    if summary[:cancelled], do: Mix.shell().error(cancelled(resume))
    if summary.failed_entities > 0 or summary[:cancelled], do: exit({:shutdown, 1})
    :ok
  end

  defp cancelled(nil), do: "cancelled: not all entities were rebuilt"
  defp cancelled(file), do: "cancelled: --resume #{file} goes on from here"

  defp rebuilt(nil, terminal?, opts) do
    canceller = Reprojection.canceller()

    until_signal(fn -> Reprojection.cancel(canceller) end, fn ->
      Reprojection.rebuild_all([progress: &show(&1, terminal?), canceller: canceller] ++ opts)
    end)
  end

  # A process of its own receives the progress, since this one waits for the result.
  defp rebuilt(node, terminal?, opts) do
    teller = spawn_link(fn -> telling(terminal?, nil) end)

    answer =
      until_signal(fn -> send(teller, :cancel) end, fn ->
        RunningNode.call(node, Reprojection, :rebuild_all_for, [teller, opts])
      end)

    ref = Process.monitor(teller)
    send(teller, :done)
    receive do: ({:DOWN, ^ref, _, _, _} -> answer)
  end

  defp telling(terminal?, canceller) do
    receive do
      {:convex_rebuild_canceller, pid} ->
        telling(terminal?, pid)

      {:convex_rebuild, progress} ->
        show(progress, terminal?)
        telling(terminal?, canceller)

      :cancel ->
        canceller && send(canceller, :cancel)
        telling(terminal?, canceller)

      :done ->
        :ok
    end
  end

  # OTP's own handler would end the VM at once; it is removed while this task listens.
  defp until_signal(cancel, fun) do
    for signal <- @signals, do: {:ok, _} = System.trap_signal(signal, {__MODULE__, signal}, cancel)
    _ = :gen_event.delete_handler(:erl_signal_server, :erl_signal_handler, :rebuilding)

    try do
      fun.()
    after
      :ok = :gen_event.add_handler(:erl_signal_server, :erl_signal_handler, [])
      for signal <- @signals, do: System.untrap_signal(signal, {__MODULE__, signal})
    end
  end

  # Not for every entity: at the end, and at intervals.
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

  @doc "The progress of a rebuild, in words."
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
