defmodule OpenAgentsRuntime.Convex.Reprojection do
  @moduledoc """
  Rebuilds documents from history: every event is folded again, and the document is sent even if
  the sidecar believes that Convex already has it.

  So a rebuild is also a repair: Convex compares the document with what it really has, and replaces
  what differs, even if history was corrected to something shorter. Documents remain readable
  throughout, and a correct one is not written. Option `force: false` sends only what the sidecar
  knows to be different; `clear: true` removes each document first.

  A rebuild runs beside live projections, and the newest wins. Several entities are rebuilt at once
  (option `:max_concurrency`, default 8). What the sidecar could not accept is handed to the
  asynchronous form, so that no document is missed.

  With `dry_run: true` nothing is written or sent. Each result's `write` is `"dry"`, and its `reason` says what the sidecar
  has for that document: `"new"` (nothing), `"same"`, `"different"` (another row, version or history), or `"ahead"` (a
  higher seq than the log). What Convex really holds is checked by the audit.

  A new document version is rebuilt with `projection_version: "v2"`; clients read each old document
  until its new one is written.
  """

  alias OpenAgentsRuntime.Convex.{BigNumbers, CanonicalJson, EventLog, Kinds, Projector}
  alias OpenAgentsRuntime.Convex.{RebuildState, Sidecars, Summary, Telemetry}

  @type replay_result :: %{
          scope: String.t(),
          entity_id: String.t(),
          result: String.t(),
          write: String.t() | nil,
          reason: String.t() | nil,
          duration_ms: non_neg_integer()
        }

  @typedoc "What `:progress` is called with: entities done, failed among them, in total; rate (per second), time left."
  @type progress :: %{
          done: non_neg_integer(),
          failed: non_neg_integer(),
          total: non_neg_integer(),
          elapsed_ms: non_neg_integer(),
          rate: float(),
          left_ms: non_neg_integer() | nil
        }

  @typedoc "Cancels a rebuild from another process."
  @opaque canceller :: :atomics.atomics_ref()

  @doc "Rebuild one run; options as for `Projector.project_run/2`."
  @spec rebuild_run(String.t(), keyword()) :: {:ok, replay_result()} | {:error, replay_result()}
  def rebuild_run(run_id, opts \\ []) when is_binary(run_id),
    do: rebuild(:run_summary, run_id, opts)

  @doc "Rebuild one codex worker."
  @spec rebuild_codex_worker(String.t(), keyword()) ::
          {:ok, replay_result()} | {:error, replay_result()}
  def rebuild_codex_worker(worker_id, opts \\ []) when is_binary(worker_id),
    do: rebuild(:codex_worker_summary, worker_id, opts)

  @doc "Rebuild one entity of any kind."
  @spec rebuild(atom(), String.t(), keyword()) :: {:ok, replay_result()} | {:error, replay_result()}
  def rebuild(kind, id, opts \\ []) when is_binary(id) do
    started_at = now_ms()
    dry? = opts[:dry_run] == true
    outcome = if dry?, do: looked_at(kind, id, opts), else: projected(kind, id, opts)
    duration_ms = now_ms() - started_at
    entry = %{scope: Summary.scope(kind), entity_id: id, duration_ms: duration_ms}

    case outcome do
      {:ok, %{write: write, reason: reason}} ->
        dry? || Telemetry.replayed(entry.scope, "ok", nil, duration_ms)
        {:ok, Map.merge(entry, %{result: "ok", write: write, reason: reason})}

      {:error, reason} ->
        dry? || Telemetry.replayed(entry.scope, "error", reason, duration_ms)
        {:error, Map.merge(entry, %{result: "error", write: nil, reason: word(reason)})}
    end
  end

  @doc "The argument of `cancel/1`; pass it to `rebuild_all/1` as `:canceller`."
  @spec canceller() :: canceller()
  def canceller, do: :atomics.new(1, [])

  @doc "Cancel the rebuild with this canceller: entities under way are finished, no more are started."
  @spec cancel(canceller()) :: :ok
  def cancel(canceller), do: :atomics.put(canceller, 1, 1)

  @doc """
  Rebuild every entity of the event log, of all kinds or of `:kinds`; of runs and workers those of
  `:run_ids` and `:worker_ids` where these are given.

  A kind without a list is rebuilt completely; give `[]` to leave it out. Kinds come in the order of
  `Kinds.all/0` (runs first), each in the order of the log or the list. Options of the projector are
  passed on. By default an entity waits (`wait: true, timeout: 30_000`), since a long history on the
  connection makes the next call `:busy`. Further options:

    * `:max_concurrency` - entities at once (8)
    * `:progress` - a function that is called with a `t:progress/0` after every entity
    * `:resume` - a file that keeps the rebuild's position; if it exists, the rebuild continues from
      there, starting with what failed before. It is removed when all is done.
    * `:after` - `{kind, id}`: start after this entity
    * `:canceller` - see `cancel/1`; a cancelled rebuild has `cancelled: true` in its result
    * `:results` - `:all`, or `:failed` for a rebuild of very many entities
    * `:dry_run` - `true`: write nothing; the result has `reasons: %{"same" => 12, "different" => 3}` as well
  """
  @spec rebuild_all(keyword()) ::
          {:ok,
           %{
             required(:total_entities) => non_neg_integer(),
             required(:succeeded_entities) => non_neg_integer(),
             required(:failed_entities) => non_neg_integer(),
             required(:results) => [replay_result()],
             optional(:cancelled) => true,
             optional(:reasons) => %{String.t() => pos_integer()}
           }}
  def rebuild_all(opts \\ []) do
    {own, opts} =
      Keyword.split(
        Keyword.merge([wait: true, timeout: 30_000], opts),
        [:kinds, :run_ids, :worker_ids, :progress, :max_concurrency] ++
          [:resume, :after, :canceller, :results]
      )

    kinds = own[:kinds] || Kinds.all()
    lists = %{run_summary: ids(own[:run_ids]), codex_worker_summary: ids(own[:worker_ids])}
    selection = selection(own[:kinds], {lists, opts[:projection_version]})
    state = RebuildState.open(own[:resume], selection, own[:after])
    canceller = Keyword.get_lazy(own, :canceller, &canceller/0)
    entities = Stream.concat(again(state), behind(state.position, kinds, lists, opts))

    tally = %{
      state: state,
      total: Enum.count(entities),
      done: 0,
      failed: 0,
      results: [],
      reasons: if(opts[:dry_run], do: %{}),
      keep: Keyword.get(own, :results, :all),
      progress: Keyword.get(own, :progress, fn _progress -> :ok end),
      started_at: now_ms()
    }

    told(tally)

    entities
    |> Stream.take_while(fn _entity -> not cancelled?(canceller) end)
    |> Task.async_stream(fn {turn, {kind, id}} -> {turn, {kind, id}, rebuild(kind, id, opts)} end,
      max_concurrency: Keyword.get(own, :max_concurrency, 8),
      ordered: true,
      timeout: :infinity
    )
    |> Enum.reduce(tally, fn {:ok, {turn, entity, outcome}}, tally ->
      count(tally, turn, entity, outcome)
    end)
    |> ended(cancelled?(canceller))
  end

  # Identifies the rebuild a state file belongs to; for all kinds, with the hash used before `:kinds` existed.
  defp selection(nil, rest), do: :erlang.phash2(rest)
  defp selection(kinds, rest), do: :erlang.phash2({kinds, rest})

  defp ids(nil), do: nil
  defp ids(ids), do: ids |> List.wrap() |> Enum.uniq() |> Enum.filter(&is_binary/1)

  defp again(state), do: for(entity <- state.failed, do: {:again, entity})

  # Lazily, kind after kind: there may be millions.
  defp behind(position, kinds, lists, opts) do
    {begun, at} = position || {hd(kinds), nil}
    begun in kinds || raise ArgumentError, "there is no kind #{inspect(begun)} to go on from"

    kinds
    |> Enum.drop_while(&(&1 != begun))
    |> Stream.flat_map(fn kind ->
      kind
      |> ids_behind(if(kind == begun, do: at), lists[kind], opts)
      |> Stream.map(&{:next, {kind, &1}})
    end)
  end

  defp ids_behind(kind, after_id, nil, opts),
    do: opts |> EventLog.module!() |> EventLog.stream_ids(kind, after_id)

  defp ids_behind(_kind, nil, list, _opts), do: list

  defp ids_behind(kind, after_id, list, _opts) do
    case Enum.drop_while(list, &(&1 != after_id)) do
      [^after_id | behind] -> behind
      [] -> raise ArgumentError, "#{kind} #{after_id} is not among those that are to be rebuilt"
    end
  end

  defp cancelled?(canceller), do: :atomics.get(canceller, 1) == 1

  defp count(tally, turn, entity, {tag, result}) do
    tally = %{
      tally
      | state: RebuildState.note(tally.state, turn, entity, tag),
        done: tally.done + 1,
        failed: tally.failed + if(tag == :error, do: 1, else: 0),
        reasons: tally.reasons && Map.update(tally.reasons, to_string(result.reason), 1, &(&1 + 1)),
        results:
          if(tag == :error or tally.keep == :all, do: [result | tally.results], else: tally.results)
    }

    told(tally)
    tally
  end

  # Entities added while it ran may raise `done` above the initial total.
  defp told(%{done: done, failed: failed} = tally) do
    elapsed_ms = now_ms() - tally.started_at
    rate = done * 1000 / max(elapsed_ms, 1)
    total = max(tally.total, done)
    left_ms = if done > 0, do: round((total - done) * 1000 / rate)

    tally.progress.(%{
      done: done,
      failed: failed,
      total: total,
      elapsed_ms: elapsed_ms,
      rate: rate,
      left_ms: left_ms
    })
  end

  defp ended(%{done: done, failed: failed, total: total} = tally, cancelled?) do
    cancelled? = cancelled? and done < total
    :ok = RebuildState.close(tally.state, not cancelled?)

    summary = %{
      total_entities: max(total, done),
      succeeded_entities: done - failed,
      failed_entities: failed,
      results: Enum.reverse(tally.results)
    }

    summary = if tally.reasons, do: Map.put(summary, :reasons, tally.reasons), else: summary
    {:ok, if(cancelled?, do: Map.put(summary, :cancelled, true), else: summary)}
  end

  # ---- one entity

  @doc """
  `rebuild_all/1` for a process on another node. That process is first sent
  `{:convex_rebuild_canceller, pid}`, then `{:convex_rebuild, progress}` messages. The rebuild is cancelled when `pid`
  is sent `:cancel`, or when that process ends.
  """
  @spec rebuild_all_for(pid(), keyword()) :: {:ok, map()}
  def rebuild_all_for(client, opts) do
    canceller = canceller()

    watcher =
      spawn(fn ->
        ref = Process.monitor(client)

        receive do
          :cancel -> cancel(canceller)
          {:DOWN, ^ref, _, _, _} -> cancel(canceller)
          :done -> :ok
        end
      end)

    send(client, {:convex_rebuild_canceller, watcher})

    answer =
      rebuild_all([canceller: canceller, progress: &send(client, {:convex_rebuild, &1})] ++ opts)

    send(watcher, :done)
    answer
  end

  # Compares the document that the sidecar would make with what the sidecar has.
  defp looked_at(kind, id, opts) do
    with log = EventLog.module!(opts),
         {:ok, row} <- log.row(kind, id),
         info = Summary.events_info(log, kind, id),
         summary = BigNumbers.sendable(Summary.summary(kind, row, info, opts)),
         document_id = Summary.document_id(kind, id),
         {:ok, known} <- known(Sidecars.owner_of(document_id, opts), document_id) do
      {:ok, %{write: "dry", reason: compared(known, summary)}}
    else
      :error -> {:error, :entity_not_found}
      {:error, reason} -> {:error, {:sink_write_failed, reason}}
    end
  rescue
    exception -> {:error, {:event_log_failed, exception}}
  end

  defp known(server, document_id) do
    case :convex_sidecar.checkpoint(server, document_id) do
      {:error, :not_found} -> {:ok, nil}
      answer -> answer
    end
  end

  defp compared(nil, _summary), do: "new"
  defp compared(%{state: "cleared"}, _summary), do: "new"

  defp compared(%{seq: seq, projection_hash: hash}, summary) do
    cond do
      is_integer(seq) and seq > summary["latest_seq"] -> "ahead"
      hash == CanonicalJson.hash(summary) -> "same"
      true -> "different"
    end
  end

  # A failure of the event log for one entity must not end the rebuild of the others.
  defp projected(kind, id, opts) do
    Projector.project(
      kind,
      id,
      [return: nil, force: true]
      |> Keyword.merge(opts)
      |> Keyword.merge(reset: true, async: false)
    )
  rescue
    exception -> {:error, {:event_log_failed, exception}}
  end

  defp word({outer, _detail}) when is_atom(outer), do: Atom.to_string(outer)
  defp word(reason), do: Telemetry.reason_class(reason)

  defp now_ms, do: System.monotonic_time(:millisecond)
end
