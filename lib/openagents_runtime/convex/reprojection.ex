defmodule OpenAgentsRuntime.Convex.Reprojection do
  @moduledoc """
  Rebuilds documents from history: the document and its checkpoint are cleared, and every
  event is handed over again.

  Clearing makes a rebuild a repair: whatever stands in Convex under that id is replaced, also
  when the sidecar believes it to be right, and also when history was corrected to something
  shorter. Option `clear: false` only folds the history again, which leaves documents in
  place and writes none that is unchanged.

  Several entities are rebuilt at once (option `:max_concurrency`, default 8). What the
  sidecar could not take after clearing is handed to the asynchronous form, so that no
  document stays away.
  """

  alias OpenAgentsRuntime.Convex.{EventLog, Projector, Summary, Telemetry}

  @type replay_result :: %{
          scope: String.t(),
          entity_id: String.t(),
          result: String.t(),
          write: String.t() | nil,
          reason: String.t() | nil,
          duration_ms: non_neg_integer()
        }

  @typedoc "What `:progress` is told: entities done, failed among them, in all."
  @type progress :: %{done: non_neg_integer(), failed: non_neg_integer(), total: non_neg_integer()}

  @doc "Rebuild one run; options as for `Projector.project_run/2`."
  @spec rebuild_run(String.t(), keyword()) :: {:ok, replay_result()} | {:error, replay_result()}
  def rebuild_run(run_id, opts \\ []) when is_binary(run_id),
    do: rebuild(:run_summary, run_id, opts)

  @doc "Rebuild one codex worker."
  @spec rebuild_codex_worker(String.t(), keyword()) ::
          {:ok, replay_result()} | {:error, replay_result()}
  def rebuild_codex_worker(worker_id, opts \\ []) when is_binary(worker_id),
    do: rebuild(:codex_worker_summary, worker_id, opts)

  @doc """
  Rebuild all runs and workers of the event log, or those of `:run_ids` and `:worker_ids`.

  When only one of the two lists is given, the other kind is rebuilt whole, as ever; give
  `[]` to leave it out. `:progress` is a function that is told a `t:progress/0` after every
  entity. Options of the projector go along.
  """
  @spec rebuild_all(keyword()) ::
          {:ok,
           %{
             total_entities: non_neg_integer(),
             succeeded_entities: non_neg_integer(),
             failed_entities: non_neg_integer(),
             results: [replay_result()]
           }}
  def rebuild_all(opts \\ []) do
    {own, opts} = Keyword.split(opts, [:run_ids, :worker_ids, :progress, :max_concurrency])
    progress = Keyword.get(own, :progress, fn _progress -> :ok end)

    entities =
      entities(:run_summary, own[:run_ids], opts) ++
        entities(:codex_worker_summary, own[:worker_ids], opts)

    total = length(entities)
    progress.(%{done: 0, failed: 0, total: total})

    {results, failed} =
      entities
      |> Task.async_stream(fn {kind, id} -> rebuild(kind, id, opts) end,
        max_concurrency: Keyword.get(own, :max_concurrency, 8),
        ordered: true,
        timeout: :infinity
      )
      |> Stream.with_index(1)
      |> Enum.reduce({[], 0}, fn {{:ok, {tag, result}}, done}, {results, failed} ->
        failed = if tag == :error, do: failed + 1, else: failed
        progress.(%{done: done, failed: failed, total: total})
        {[result | results], failed}
      end)

    {:ok,
     %{
       total_entities: total,
       succeeded_entities: total - failed,
       failed_entities: failed,
       results: Enum.reverse(results)
     }}
  end

  defp entities(kind, nil, opts) do
    opts |> EventLog.module!() |> EventLog.stream_ids(kind) |> Enum.map(&{kind, &1})
  end

  defp entities(kind, ids, _opts) do
    for id <- ids |> List.wrap() |> Enum.uniq(), is_binary(id), do: {kind, id}
  end

  defp rebuild(kind, id, opts) do
    started_at = System.monotonic_time(:millisecond)
    outcome = projected(kind, id, opts)
    duration_ms = System.monotonic_time(:millisecond) - started_at
    entry = %{scope: Summary.scope(kind), entity_id: id, duration_ms: duration_ms}

    case outcome do
      {:ok, %{write: write, reason: reason}} ->
        Telemetry.replayed(entry.scope, "ok", nil, duration_ms)
        {:ok, Map.merge(entry, %{result: "ok", write: write, reason: reason})}

      {:error, reason} ->
        Telemetry.replayed(entry.scope, "error", reason, duration_ms)
        {:error, Map.merge(entry, %{result: "error", write: nil, reason: word(reason)})}
    end
  end

  # An event log that fails for one entity must not end the rebuild of the others.
  defp projected(kind, id, opts) do
    {clear?, opts} = Keyword.pop(opts, :clear, true)
    opts = [return: nil] |> Keyword.merge(opts) |> Keyword.merge(reset: true, clear: clear?)
    Projector.project(kind, id, opts)
  rescue
    exception -> {:error, {:event_log_failed, exception}}
  end

  defp word({outer, _detail}) when is_atom(outer), do: Atom.to_string(outer)
  defp word(reason), do: Telemetry.reason_class(reason)
end
