defmodule OpenAgentsRuntime.Convex.Telemetry do
  @moduledoc """
  The runtime's four events, and two of the sidecar's own.

  | event (`[:openagents_runtime, :convex, :projection, _]`) | measurements | metadata |
  | --- | --- | --- |
  | `:write` | `count, duration_ms, lag_events` | `projection, result ("ok", "skipped", "error"), reason_class, document_id, entity_id` |
  | `:write_failure` | `count` | `projection, reason_class, document_id, entity_id` |
  | `:drift` | `count` | `projection, reason_class, document_id, entity_id` |
  | `:replay` | `count, duration_ms` | `scope, result, reason_class` |
  | `:sweep` (Convex was found to be wiped, restored or another deployment, and everything is projected once more) | `count, duration_ms` | `instance, phase ("started", "done"), why` |
  | `:state` (a state has changed) | `count, duration_ms` (in the state before) | `instance, scope, kind, state, was, why, next` |

  `scope` of `:state` says what has changed; each change is also one log line. `why` and `next` are sentences,
  not tags.

  | `scope` | `state`, `was` | |
  | --- | --- | --- |
  | `"sidecar"` | `"up"`, `"down"`, first `"starting"` | whether this VM reaches it |
  | `"endpoint"` | `"running"`, `"waiting"`, `"stopped"`, `"paused"` | delivery to Convex; waiting ends by itself, stopped needs a person |
  | `"kind"` | `"running"`, `"waiting"`, `"stopped"` | delivery of the kind in `kind` |
  | `"mending"` | `"mending"`, `"running"` (done) | what was confirmed may be missing in Convex, and is sent again |
  | `"store"` | `"running"`, `"stopped"` | its disk: nothing is accepted while it fails |

  They go to the `telemetry` library if it is loaded, and to a handler if one is
  configured: a function of three arguments, or a module with `handle_event/4` (as a
  telemetry handler; its config is `nil`).

      config :openagents_runtime, convex_telemetry_handler: MyApp.ConvexEvents

  A handler's failure is logged; it never fails a projection.

  For `Telemetry.Metrics`, `metrics/0` lists what these events measure; labels have low cardinality.
  """

  @behaviour :convex_sidecar_state

  alias OpenAgentsRuntime.Convex.Summary

  require Logger

  @prefix [:openagents_runtime, :convex, :projection]
  @drift ["checkpoint_ahead", "summary_hash_mismatch", "projection_version_changed"]

  @doc "Emit one event."
  @spec execute([atom()], map(), map()) :: :ok
  def execute(event, measurements, metadata) do
    if :erlang.function_exported(:telemetry, :execute, 3) do
      apply(:telemetry, :execute, [event, measurements, metadata])
    end

    case Application.get_env(:openagents_runtime, :convex_telemetry_handler) do
      nil -> :ok
      handler -> handle(handler, event, measurements, metadata)
    end
  end

  @doc """
  What the events measure, for a reporter of `Telemetry.Metrics` (which must be among your dependencies):

      def metrics, do: OpenAgentsRuntime.Convex.Telemetry.metrics() ++ [...]

  Durations are in milliseconds, as in the events.
  """
  @spec metrics() :: [struct()]
  def metrics do
    unless Code.ensure_loaded?(Telemetry.Metrics),
      do:
        raise(
          ArgumentError,
          "Telemetry.Metrics is not there; add {:telemetry_metrics, \"~> 1.0\"} to deps"
        )

    write = [tags: [:projection, :result, :reason_class]]

    times = [
      unit: :millisecond,
      reporter_options: [buckets: [1, 2, 5, 10, 25, 50, 100, 250, 500, 1000, 5000]]
    ]

    for {type, name, options} <- [
          {:counter, "write.count", write},
          {:distribution, "write.duration_ms", [tags: [:projection, :result]] ++ times},
          {:sum, "write.lag_events", [tags: [:projection]]},
          {:counter, "write_failure.count", [tags: [:projection, :reason_class]]},
          {:counter, "drift.count", [tags: [:projection, :reason_class]]},
          {:counter, "replay.count", [tags: [:scope, :result, :reason_class]]},
          {:distribution, "replay.duration_ms", [tags: [:scope, :result]] ++ times},
          {:counter, "state.count", [tags: [:instance, :scope, :kind, :state]]}
        ],
        do:
          apply(Telemetry.Metrics, type, ["openagents_runtime.convex.projection." <> name, options])
  end

  defp handle(handler, event, measurements, metadata) do
    if is_function(handler, 3),
      do: handler.(event, measurements, metadata),
      else: handler.handle_event(event, measurements, metadata, nil)

    :ok
  catch
    kind, reason ->
      Logger.error("convex telemetry handler failed: " <> Exception.format_banner(kind, reason))
      :ok
  end

  @doc "Emit the events of one projection, from the sidecar's answer or a sink's; the same in both forms."
  @spec projected(atom(), String.t(), {:ok, map()} | {:error, term()}, non_neg_integer()) :: :ok
  def projected(kind, id, outcome, duration_ms) do
    entity = %{
      projection: to_string(kind),
      document_id: Summary.document_id(kind, id),
      entity_id: id
    }

    told(entity, outcome, duration_ms)
  end

  defp told(entity, {:ok, result}, duration_ms) do
    reason = result[:reason]
    drift(entity, reason)
    label = if result[:write] == "skipped", do: "skipped", else: "ok"
    write(entity, label, reason, duration_ms, result[:lag_events] || 0)
  end

  defp told(entity, {:error, reason}, duration_ms) do
    write(entity, "error", reason, duration_ms, 0)

    unless match?({:invalid_summary, _}, reason) do
      entity = Map.put(entity, :reason_class, reason_class(reason))
      execute(@prefix ++ [:write_failure], %{count: 1}, entity)
    end

    :ok
  end

  @doc "An id as one word of a log line: quoted and escaped if it contains blanks, line ends or the like."
  @spec word(String.t()) :: String.t()
  def word(id), do: if(id =~ ~r/\A[!-~]+\z/, do: id, else: inspect(id, binaries: :as_strings))

  @doc "Emit the event of one rebuilt entity."
  @spec replayed(String.t(), String.t(), term(), non_neg_integer()) :: :ok
  def replayed(scope, result, reason, duration_ms) do
    execute(@prefix ++ [:replay], %{count: 1, duration_ms: duration_ms}, %{
      scope: scope,
      result: result,
      reason_class: reason_class(reason)
    })
  end

  @doc "Emit the event of a sweep that begins or is done."
  @spec swept(atom(), :started | :done, map()) :: :ok
  def swept(instance, phase, %{why: why, duration_ms: duration_ms}) do
    execute(@prefix ++ [:sweep], %{count: 1, duration_ms: duration_ms}, %{
      instance: instance,
      phase: to_string(phase),
      why: why
    })
  end

  @doc "Emit the event of a change of state."
  @impl :convex_sidecar_state
  @spec changed(atom(), :convex_sidecar_state.change()) :: :ok
  def changed(instance, %{duration_ms: duration_ms} = change) do
    words = Map.take(change, [:kind, :why, :next])

    execute(
      @prefix ++ [:state],
      %{count: 1, duration_ms: duration_ms},
      Map.merge(words, %{
        instance: instance,
        scope: to_string(change.scope),
        state: to_string(change.state),
        was: to_string(change.was)
      })
    )
  end

  @doc """
  A reason as one word of low cardinality, for labels: `"none"`, the atom or text itself, the
  first element of a tuple (`{:http_status, 500, _}` is `"http_status"`), else `"error"`.
  """
  @spec reason_class(term()) :: String.t()
  def reason_class(nil), do: "none"
  def reason_class({:sink_write_failed, reason}), do: reason_class(reason)
  def reason_class({:invalid_summary, reason}), do: reason_class(reason)
  def reason_class(reason) when is_atom(reason), do: Atom.to_string(reason)
  def reason_class(reason) when reason in @drift or reason in ["idempotent", "dead"], do: reason

  def reason_class(reason)
      when is_tuple(reason) and tuple_size(reason) > 0 and is_atom(elem(reason, 0)),
      do: Atom.to_string(elem(reason, 0))

  def reason_class(_reason), do: "error"

  defp drift(entity, reason) when reason in @drift do
    execute(@prefix ++ [:drift], %{count: 1}, Map.put(entity, :reason_class, reason))
    Logger.info("convex projection drift: #{word(entity.document_id)}: #{reason}")
  end

  defp drift(_entity, _reason), do: :ok

  defp write(entity, label, reason, duration_ms, lag_events) do
    execute(
      @prefix ++ [:write],
      %{count: 1, duration_ms: duration_ms, lag_events: lag_events},
      Map.merge(entity, %{result: label, reason_class: reason_class(reason)})
    )
  end
end
