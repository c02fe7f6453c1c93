defmodule OpenAgentsRuntime.Convex.Projector do
  @moduledoc """
  Projects runs and codex workers into their Convex documents, and entities of any kind of
  `OpenAgentsRuntime.Convex.Kinds` (`project/3`, `project_async/3`).

      runtime/run_summary:<run_id>
      runtime/codex_worker_summary:<worker_id>

  There are two forms. The call, `project_run/2`, waits for an answer (never longer than its
  timeout) and returns the runtime's result. The asynchronous form, `project_run_async/2`, costs
  the process that appended an event one table insert, and is how an append should end:
  whatever Convex or the sidecar does, the event's entity is remembered until it is kept.

  ## Where documents go

  The sink is the option `:sink` or the configuration `convex_projection_sink`. With
  `HttpSink`, or with no sink (or `NoopSink`) while a sidecar is configured, the request goes to
  the sidecar: the row and the events it has not seen, however long the run. A sink of your
  own (also `FanoutSink`) is called in this VM with the whole document, as in the runtime. The
  event log is then read from its beginning, and what the sink already has is skipped
  (`OpenAgentsRuntime.Convex.SinkCheckpoints`). For tests see `OpenAgentsRuntime.Convex.Testing`.

  ## Options

    * `:sink`, `:sink_opts` - the sink, and its options
    * `:now` (a `DateTime`), `:projection_version`
    * `:event_log` - a module with the behaviour `OpenAgentsRuntime.Convex.EventLog`
    * `:sidecar` - the instance, or a list of instances that share the entities (see
      `OpenAgentsRuntime.Convex.Sidecars`); `:ack` (`:kept` or `:written`), `:deadline_ms`, `:seq_range`,
      `:timeout` (5000), `:wait` (`true`: wait within the timeout for a sidecar that is down or busy)
    * `:async` - `true`: the asynchronous form with the result of the call, `{:ok, %{write: "noted", summary: nil, ...}}` at
      once, so that a caller's `case` need not change. The configuration `convex_projection_async: true` makes this the
      default for calls without `:ack`, `:wait`, `:timeout`, `:sink` or `:return`
    * `:return` - `nil` makes `summary` in the result `nil`, which is cheaper

  ## Results

  `{:ok, %{document_id, summary, write, reason, seq, lag_events, projection_hash}}`, where
  `write` is `"queued"` (on the sidecar's disk, to be delivered), `"applied"` (Convex, or
  a sink of your own, has confirmed it), `"skipped"`, or `"noted"` (`async: true`), and `reason` is `nil` or a
  reason from the decision table. Or `{:error, reason}`:

    * `:run_not_found`, `:worker_not_found`, for other kinds `:entity_not_found`
    * `{:sink_write_failed, reason}` - the sidecar's reason (`:unavailable`, `:timeout`, `:busy`,
      `:draining`, `{:store, why}`, `:no_event_log`, ...) or the sink's. What the sidecar could not accept at the
      moment is also handed to the asynchronous form, so it is not lost.
    * `{:invalid_summary, reason}` - the data breaks a rule, or the log has a hole
      (`{:gap, expected, got}`)
  """

  require Logger

  alias OpenAgentsRuntime.Convex.{EventLog, HttpSink, NoopSink, Sidecar, Sidecars, Sink}

  alias OpenAgentsRuntime.Convex.{
    CanonicalJson,
    SinkCheckpoints,
    SinkQueue,
    Source,
    Summary,
    Telemetry
  }

  alias OpenAgentsRuntime.Convex.Testing

  @type result :: %{
          required(:document_id) => String.t(),
          required(:summary) => map() | nil,
          required(:write) => String.t(),
          required(:reason) => String.t() | nil,
          optional(:seq) => integer(),
          optional(:lag_events) => integer(),
          optional(:projection_hash) => String.t()
        }

  @sidecar_keys [:ack, :now, :projection_version, :seq_range, :deadline_ms, :timeout, :wait]
  # A call with one of these options wants an answer.
  @waiting_keys [:ack, :wait, :timeout, :deadline_ms, :return, :sink, :reset, :force, :clear]
  @summary_words ~w(runtime_seq_missing projection_version_missing projected_at_missing projected_at_invalid)

  @doc "Project a run and wait for the answer."
  @spec project_run(String.t(), keyword()) :: {:ok, result()} | {:error, term()}
  def project_run(run_id, opts \\ []) when is_binary(run_id),
    do: project(:run_summary, run_id, opts)

  @doc "Project a codex worker and wait for the answer."
  @spec project_codex_worker(String.t(), keyword()) :: {:ok, result()} | {:error, term()}
  def project_codex_worker(worker_id, opts \\ []) when is_binary(worker_id),
    do: project(:codex_worker_summary, worker_id, opts)

  @doc "The run has changed; project it soon. Always `:ok`."
  @spec project_run_async(String.t(), keyword()) :: :ok
  def project_run_async(run_id, opts \\ []) when is_binary(run_id),
    do: project_async(:run_summary, run_id, opts)

  @doc "The codex worker has changed; project it soon. Always `:ok`."
  @spec project_codex_worker_async(String.t(), keyword()) :: :ok
  def project_codex_worker_async(worker_id, opts \\ []) when is_binary(worker_id),
    do: project_async(:codex_worker_summary, worker_id, opts)

  @doc """
  Project every entity of a kind soon; what the sidecar already has is skipped. If several
  sidecars share the entities, each gets its own (`sidecar: name`: only that one).
  """
  @spec project_all_async(atom(), keyword()) :: :ok | {:error, :unavailable | :busy | :no_event_log}
  def project_all_async(kind, opts \\ []) do
    case {Testing.mode(), EventLog.module(opts)} do
      {_any, nil} ->
        {:error, EventLog.say_none()}

      {:disabled, _log} ->
        sweep(kind, opts)

      {:manual, _log} ->
        Testing.note(kind, :all, opts)

      {:inline, log} ->
        log |> EventLog.stream_ids(kind) |> Enum.each(&project_async(kind, &1, opts))
    end
  end

  defp sweep(kind, opts) do
    for({name, source} <- sweep_sources(opts, :catch_up), do: {instance(name), source})
    |> Enum.map(fn {name, source} -> :convex_sidecar.project_all_async(name, kind, source) end)
    |> Enum.find(:ok, &(&1 != :ok))
  end

  @doc false
  # The source through which each member gets its own entities.
  def sweep_sources(opts, origin) do
    log = EventLog.module!(opts)
    shared = Sidecars.configured()

    {members, among} =
      case Sidecars.members(opts) do
        [one] -> {[one], if(shared && one in shared, do: :configured, else: [one])}
        several -> {several, if(several == shared, do: :configured, else: several)}
      end

    for member <- members, do: {member, log |> Source.new(member, among) |> Source.of(origin)}
  end

  @doc "The document id of a run."
  @spec run_summary_document_id(String.t()) :: String.t()
  def run_summary_document_id(run_id), do: Summary.document_id(:run_summary, run_id)

  @doc "The document id of a codex worker."
  @spec codex_worker_summary_document_id(String.t()) :: String.t()
  def codex_worker_summary_document_id(worker_id),
    do: Summary.document_id(:codex_worker_summary, worker_id)

  @doc """
  Project an entity of any kind; `project_run/2` and `project_codex_worker/2` call this.
  `reset: true` folds from the first event, whatever was folded before (a rebuild). With
  `force: true` as well, the document is written even if it is unchanged, which repairs whatever
  Convex holds, and with `clear: true` the document is removed first.
  """
  @spec project(atom(), String.t(), keyword()) :: {:ok, result()} | {:error, term()}
  def project(kind, id, opts \\ []) when is_binary(id),
    do: if(async?(opts), do: noted(kind, id, opts), else: project_now(kind, id, opts, :call))

  # Gives the appending process a result that its `case` already handles.
  defp noted(kind, id, opts) do
    :ok = project_async(kind, id, Keyword.delete(opts, :async))
    document_id = Summary.document_id(kind, id)
    {:ok, %{document_id: document_id, summary: nil, write: "noted", reason: nil, lag_events: 0}}
  end

  defp async?(opts) do
    Keyword.get_lazy(opts, :async, fn ->
      Application.get_env(:openagents_runtime, :convex_projection_async, false) and
        not Enum.any?(@waiting_keys, &Keyword.has_key?(opts, &1))
    end)
  end

  defp project_now(kind, id, opts, form) do
    started_at = System.monotonic_time(:millisecond)

    outcome =
      case {EventLog.module(opts), route(opts)} do
        {nil, _} -> {:error, {:sink_write_failed, EventLog.say_none()}}
        {log, :sidecar} -> through_sidecar(kind, id, log, opts)
        {log, {:sink, sink}} -> through_sink(sink, log, kind, id, [form: form] ++ opts)
      end

    duration_ms = System.monotonic_time(:millisecond) - started_at
    told(kind, id, outcome, duration_ms)
    outcome
  end

  @doc """
  An entity of any kind has changed; project it soon. Always `:ok`, since the append must not
  fail because of it. A sidecar that was never started is reported as a write failure, a missing event log as one
  warning, and an invalid configuration is logged.
  """
  @spec project_async(atom(), String.t(), keyword()) :: :ok
  def project_async(kind, id, opts \\ []) when is_binary(id) do
    case marked(Testing.mode(), kind, id, opts) do
      {:error, :no_event_log} -> :ok
      {:error, reason} -> told(kind, id, {:error, {:sink_write_failed, reason}}, 0)
      _ok -> :ok
    end

    :ok
  rescue
    exception ->
      Logger.error(
        "convex projection of #{kind} #{inspect(id)} failed: " <> Exception.message(exception)
      )

      :ok
  end

  defp marked(:manual, kind, id, opts), do: Testing.note(kind, id, opts)

  # A failure there has already been reported.
  defp marked(:inline, kind, id, opts) do
    _ = project_now(kind, id, opts, :async)
    :ok
  end

  defp marked(:disabled, kind, id, opts) do
    case {EventLog.module(opts), routed(opts)} do
      {_log, {:sink, NoopSink}} -> :ok
      {nil, _} -> {:error, EventLog.say_none()}
      {log, :sidecar} -> mark(kind, id, log, opts)
      {_log, {:sink, _sink}} -> SinkQueue.mark(kind, id, opts)
    end
  end

  # Between the choice of the owner and the mark, Sidecars.put may have moved the entity. Its
  # sweep starts after the change of members, so it can have missed this event only if the change is visible now.
  defp mark(kind, id, log, opts) do
    before = Sidecars.changed()
    members = Sidecars.members(opts)
    owner = owner(members, kind, id)
    source = source(log, owner, members, opts)
    marked = :convex_sidecar.project_async(instance(owner), kind, id, source)
    if Sidecars.changed() == before, do: marked, else: mark(kind, id, log, opts)
  end

  # The document id is only computed if there is a choice.
  defp owner([one], _kind, _id), do: one
  defp owner(members, kind, id), do: Sidecars.owner(members, Summary.document_id(kind, id))

  # In tests, what would go to a sidecar is not sent.
  defp route(opts) do
    case routed(opts) do
      :sidecar -> if Testing.mode() == :disabled, do: :sidecar, else: {:sink, NoopSink}
      sink -> sink
    end
  end

  defp routed(opts) do
    configured = Application.get_env(:openagents_runtime, :convex_projection_sink)

    case Keyword.get(opts, :sink) do
      nil when configured in [nil, NoopSink] ->
        if Sidecar.configured?(opts), do: :sidecar, else: {:sink, NoopSink}

      nil when configured == HttpSink ->
        :sidecar

      nil ->
        {:sink, configured}

      HttpSink ->
        :sidecar

      sink when is_atom(sink) ->
        {:sink, sink}
    end
  end

  # ---- through the sidecar

  defp through_sidecar(kind, id, log, opts) do
    before = Sidecars.changed()
    members = Sidecars.members(opts)
    server = owner(members, kind, id)
    source = source(log, server, members, opts)
    request = request(opts)

    answer =
      if Keyword.get(opts, :reset, false),
        do: rebuild(server, source, kind, id, request, opts),
        else: :convex_sidecar_source.project(server, source, kind, id, request)

    # The members changed meanwhile: what the old owner could not accept goes to the new one.
    if Sidecars.changed() != before and owner(Sidecars.members(opts), kind, id) != server,
      do: mark(kind, id, log, opts)

    with {:ok, result} <- in_runtimes_words(kind, answer), do: {:ok, result(result)}
  end

  @doc false
  # Translates the sidecar's errors into this module's, for both forms.
  def in_runtimes_words(kind, {:error, reason}), do: {:error, error(kind, reason)}
  def in_runtimes_words(_kind, answer), do: answer

  defp rebuild(server, source, kind, id, request, opts) do
    clear = if opts[:clear], do: Summary.document_id(kind, id), else: :undefined
    request = Map.merge(request, %{clear: clear, force: Keyword.get(opts, :force, false)})
    :convex_sidecar_source.rebuild(server, source, kind, id, request)
  end

  defp request(opts) do
    sink_opts =
      Keyword.take(Keyword.get(opts, :sink_opts, []), [:ack, :deadline_ms, :timeout, :wait])

    given =
      for {key, value} <- sink_opts ++ Keyword.take(opts, @sidecar_keys),
          value not in [nil, ""],
          do: {key, value}

    case Keyword.get(opts, :return, :summary) do
      :summary -> Map.put(Map.new(given), :return, :summary)
      nil -> Map.new(given)
    end
  end

  defp result(result) do
    %{
      document_id: result.document_id,
      summary: Map.get(result, :summary),
      write: result.write,
      reason: Map.get(result, :reason),
      seq: Map.get(result, :seq),
      lag_events: Map.get(result, :lag_events, 0),
      projection_hash: Map.get(result, :projection_hash)
    }
  end

  defp error(:run_summary, :not_found), do: :run_not_found
  defp error(:codex_worker_summary, :not_found), do: :worker_not_found
  defp error(_kind, :not_found), do: :entity_not_found
  defp error(_kind, {:sink_write_failed, reason}), do: {:sink_write_failed, reason}
  defp error(_kind, {:gap, expected, got}), do: {:invalid_summary, {:gap, expected, got}}

  defp error(_kind, {:invalid, _path, why}) when why in @summary_words,
    do: {:invalid_summary, String.to_existing_atom(why)}

  defp error(_kind, {:invalid, path, why}), do: {:invalid_summary, {:invalid, path, why}}
  defp error(_kind, reason), do: {:sink_write_failed, reason}

  # ---- through a sink in this VM

  defp through_sink(sink, log, kind, id, opts) do
    with {:ok, row} <- log.row(kind, id),
         summary = Summary.summary(kind, row, Summary.events_info(log, kind, id), opts),
         :ok <- valid(summary) do
      document_id = Summary.document_id(kind, id)
      checkpoint = checkpoint(summary)
      checkpoints = if Testing.mode() == :disabled, do: SinkCheckpoints, else: Testing
      standing = checkpoints.find({sink, sink_opts(opts)}, document_id)
      decision = SinkCheckpoints.decide(standing, checkpoint, opts)

      with :ok <- written(decision.write?, sink, kind, document_id, summary, opts) do
        keep(checkpoints, {kind, id, document_id}, sink, summary, checkpoint, decision, opts)
        {:ok, sink_result(document_id, summary, checkpoint, decision)}
      end
    else
      :error -> {:error, error(kind, :not_found)}
      {:error, reason} -> {:error, reason}
    end
  end

  # A document without a canonical form has no hash, so it never equals another.
  defp checkpoint(summary) do
    hash =
      try do
        CanonicalJson.hash(summary)
      rescue
        ArgumentError -> nil
      end

    %{seq: summary["runtime_source"]["seq"], version: summary["projection_version"], hash: hash}
  end

  defp written(false, _sink, _kind, _document_id, _summary, _opts), do: :ok

  defp written(true, sink, kind, document_id, summary, opts) do
    with {:error, reason} <- Sink.write(sink, kind, document_id, summary, sink_opts(opts)),
         do: {:error, {:sink_write_failed, reason}}
  end

  defp keep(Testing, {kind, id, _}, sink, summary, checkpoint, decision, opts) do
    {form, opts} = Keyword.pop(opts, :form, :call)
    Testing.projected(kind, id, sink, summary, checkpoint, decision, form, opts)
  end

  defp keep(SinkCheckpoints, {_, _, document_id}, sink, _summary, checkpoint, decision, opts),
    do: decision.write? && SinkCheckpoints.put({sink, sink_opts(opts)}, document_id, checkpoint)

  defp sink_result(document_id, summary, checkpoint, decision) do
    %{
      document_id: document_id,
      summary: summary,
      write: if(decision.write?, do: "applied", else: "skipped"),
      reason: decision.reason,
      seq: checkpoint.seq,
      lag_events: decision.lag_events,
      projection_hash: checkpoint.hash
    }
  end

  defp valid(summary) do
    with {:error, reason} <- Summary.validate(summary), do: {:error, {:invalid_summary, reason}}
  end

  defp sink_opts(opts), do: Keyword.get(opts, :sink_opts, [])

  # ---- telemetry and sources

  defp told(kind, id, outcome, duration_ms) do
    case outcome do
      {:error, reason} when reason in [:run_not_found, :worker_not_found, :entity_not_found] ->
        :ok

      _ ->
        Telemetry.projected(kind, id, outcome, duration_ms)
    end

    with {:error, {:sink_write_failed, reason}} <- outcome do
      document_id = Summary.document_id(kind, id)

      Logger.error(
        "convex projection write failed: #{Telemetry.word(document_id)}: #{inspect(reason)}",
        projection: to_string(kind),
        document_id: document_id
      )
    end
  end

  # A sweep after too many marks reads only the ids of this owner.
  defp source(log, owner, members, opts) do
    Source.new(
      log,
      owner,
      if(opts[:sidecar], do: members, else: shared(members)),
      opts[:projection_version]
    )
  end

  defp shared([_one] = members), do: members
  defp shared(_several), do: :configured

  defp instance(name) when is_atom(name), do: name

  defp instance(other) do
    raise ArgumentError, "the asynchronous form needs an instance name, got #{inspect(other)}"
  end
end
