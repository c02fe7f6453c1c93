defmodule Mix.Tasks.Runtime.Convex.Audit do
  @shortdoc "Compares Convex with what it has confirmed, and repairs what differs"
  @moduledoc """
  Compares what Convex holds with what it has confirmed.

      mix runtime.convex.audit
      mix runtime.convex.audit --kind run_summary
      mix runtime.convex.audit --repair
      mix runtime.convex.audit --after runtime/run_summary:run_123

  If the application already runs on this machine, the audit runs in that VM, as with `mix runtime.convex.reproject`;
  `--node NAME`, `--cookie COOKIE` and `--here` mean the same.

  Each finding is a line; `--repair` repairs them from the event log. A terminal shows the
  progress. The exit status is 1 if something was found and not repaired, or the audit
  stopped before the end.
  """
  use Mix.Task

  alias OpenAgentsRuntime.Convex.{Audit, RunningNode}

  @switches RunningNode.switches() ++ [kind: :string, repair: :boolean, after: :string]
  @counts ~w(checked missing stale ahead altered orphaned second_look unsettled)a

  @impl Mix.Task
  def run(args) do
    {opts, rest, invalid} = OptionParser.parse(args, strict: @switches)
    if rest != [] or invalid != [], do: Mix.raise("not understood: #{inspect(rest ++ invalid)}")
    Mix.Task.run("app.config")
    {where, opts} = Keyword.split(opts, Keyword.keys(RunningNode.switches()))
    node = Mix.Tasks.Runtime.Convex.Reproject.at(where)

    {kind, opts} = Keyword.pop(opts, :kind, "all")
    watcher = watch(OpenAgentsRuntime.Convex.Terminal.bar?(), node)
    # The sidecar of an application that has just started is not ready at once.
    answer = RunningNode.call(node, Audit, :audit, [kind, [wait: true, timeout: 7_200_000] ++ opts])
    unwatch(watcher)

    case answer do
      {:ok, report} -> show(report, opts[:repair] == true)
      {:error, reason} -> Mix.raise("the audit failed: #{inspect(reason)}")
    end
  end

  defp show(report, repair?) do
    for finding <- report.findings, do: Mix.shell().info(line(finding))

    for %{document_id: id, reason: why} <- report.failed,
        do: Mix.shell().error("not repaired #{id}: #{inspect(why)}")

    Mix.shell().info("Convex audit summary:")
    for key <- @counts, do: Mix.shell().info("  #{key}: #{report[key]}")

    if repair? do
      Mix.shell().info("  repaired: #{report.repaired}")
      Mix.shell().info("  reprojected: #{report.reprojected}")
    end

    if report.stopped do
      Mix.shell().error("stopped: #{report.stopped}; go on with --after #{report.next}")
    end

    left? = if repair?, do: report.failed != [], else: report.findings != []
    if left? or report.stopped, do: exit({:shutdown, 1})
    :ok
  end

  @doc "One finding, in words."
  @spec line(Audit.finding()) :: String.t()
  def line(f) do
    "#{f.finding} #{f.document_id} seq=#{f.seq || "-"} convex_seq=#{f.convex_seq || "-"}" <>
      if(f.repaired, do: " repaired", else: "")
  end

  @doc "The progress of an audit, in words."
  @spec progress_text(map()) :: String.t()
  def progress_text(p) do
    left = if p.eta_s, do: ", #{p.eta_s} s left", else: ""
    "#{p.kind} #{p.checked} checked, #{p.findings} found, #{round(p.rate)}/s#{left}"
  end

  defp watch(false, _node), do: nil
  defp watch(true, node), do: spawn_link(fn -> watching(node) end)

  defp watching(node) do
    receive do
      :stop -> :ok
    after
      500 ->
        with {:ok, %{state: "running"} = p} <- RunningNode.call(node, Audit, :status, []),
             do: IO.write("\r\e[K" <> progress_text(p))

        watching(node)
    end
  end

  defp unwatch(nil), do: :ok

  defp unwatch(watcher) do
    Process.unlink(watcher)
    send(watcher, :stop)
    IO.write("\r\e[K")
  end
end
