defmodule Mix.Tasks.Runtime.Convex.Reproject do
  @shortdoc "Rebuilds Convex documents from the runtime's history"
  @moduledoc """
  Rebuilds Convex documents from the runtime's history.

      mix runtime.convex.reproject --run-id run_123
      mix runtime.convex.reproject --worker-id codexw_123
      mix runtime.convex.reproject --all [--concurrency 8]

  `--all` shows how far it is: one line that is rewritten on a terminal (count, rate, time
  left), a plain line every ten per cent elsewhere. The exit status is 1 when an entity
  failed, and each failed one is named.
  """
  use Mix.Task

  alias OpenAgentsRuntime.Convex.Reprojection

  @switches [run_id: :string, worker_id: :string, all: :boolean, concurrency: :integer]

  @impl Mix.Task
  def run(args) do
    opts = parse(args)
    Mix.Task.run("app.start")

    cond do
      opts[:all] -> all(Keyword.get(opts, :concurrency, 8))
      id = opts[:run_id] -> single(Reprojection.rebuild_run(id, waiting()))
      id = opts[:worker_id] -> single(Reprojection.rebuild_codex_worker(id, waiting()))
    end
  end

  # Checked before the application is started.
  defp parse(args) do
    {opts, rest, invalid} = OptionParser.parse(args, strict: @switches)
    chosen = Enum.count([:all, :run_id, :worker_id], &opts[&1])

    cond do
      rest != [] or invalid != [] -> usage("not understood: #{inspect(rest ++ invalid)}")
      chosen != 1 -> usage("one of the three is needed")
      Keyword.get(opts, :concurrency, 8) not in 1..256 -> usage("--concurrency is 1 to 256")
      true -> opts
    end
  end

  defp usage(why), do: Mix.raise("#{why}: provide --run-id <id>, --worker-id <id>, or --all")

  # The sidecar of an application that has just been started is not ready at once.
  defp waiting, do: [wait: true, timeout: 30_000]

  defp single({:ok, result}), do: Mix.shell().info("reproject " <> line(result))

  defp single({:error, result}) do
    Mix.shell().error("reproject " <> line(result))
    exit({:shutdown, 1})
  end

  defp all(concurrency) do
    terminal? = match?({:ok, _columns}, :io.columns())
    started_at = System.monotonic_time(:millisecond)
    show = fn progress -> show(progress, started_at, terminal?) end

    {:ok, summary} =
      Reprojection.rebuild_all(waiting() ++ [progress: show, max_concurrency: concurrency])

    if terminal?, do: IO.write("\n")
    Mix.shell().info("Convex reprojection summary:")
    Mix.shell().info("  total_entities: #{summary.total_entities}")
    Mix.shell().info("  succeeded_entities: #{summary.succeeded_entities}")
    Mix.shell().info("  failed_entities: #{summary.failed_entities}")
    for %{result: "error"} = result <- summary.results, do: Mix.shell().error("  " <> line(result))
    if summary.failed_entities > 0, do: exit({:shutdown, 1})
    :ok
  end

  defp show(progress, started_at, true) do
    IO.write("\r\e[K" <> progress_text(progress, System.monotonic_time(:millisecond) - started_at))
  end

  defp show(%{done: done, total: total} = progress, started_at, false) do
    step = max(div(total, 10), 1)

    if done > 0 and (rem(done, step) == 0 or done == total) do
      Mix.shell().info(progress_text(progress, System.monotonic_time(:millisecond) - started_at))
    end
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
