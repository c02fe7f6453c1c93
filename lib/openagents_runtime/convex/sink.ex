defmodule OpenAgentsRuntime.Convex.Sink do
  @moduledoc """
  A destination of finished documents. The sidecar has its own sinks; this behaviour is for sinks
  that the runtime's users write.

      defmodule MyApp.AuditSink do
        use OpenAgentsRuntime.Convex.Sink

        @impl true
        def upsert(kind, document_id, summary, opts), do: ...
      end

  A sink has `c:upsert/4`, or the older callbacks, one per kind. `use` derives these from `c:upsert/4`, for
  callers that still use them.
  """

  @doc "Write a document of any kind; `opts` are the call's `:sink_opts`."
  @callback upsert(kind :: atom(), document_id :: String.t(), summary :: map(), opts :: keyword()) ::
              :ok | {:error, term()}

  @doc "Write a run's document; called on a sink without `c:upsert/4`."
  @callback upsert_run_summary(document_id :: String.t(), summary :: map(), opts :: keyword()) ::
              :ok | {:error, term()}

  @doc "Write a codex worker's document; called on a sink without `c:upsert/4`."
  @callback upsert_codex_worker_summary(
              document_id :: String.t(),
              summary :: map(),
              opts :: keyword()
            ) :: :ok | {:error, term()}

  @optional_callbacks upsert: 4, upsert_run_summary: 3, upsert_codex_worker_summary: 3

  defmacro __using__(_opts) do
    quote do
      @behaviour OpenAgentsRuntime.Convex.Sink

      @impl OpenAgentsRuntime.Convex.Sink
      def upsert_run_summary(document_id, summary, opts),
        do: upsert(:run_summary, document_id, summary, opts)

      @impl OpenAgentsRuntime.Convex.Sink
      def upsert_codex_worker_summary(document_id, summary, opts),
        do: upsert(:codex_worker_summary, document_id, summary, opts)
    end
  end

  @doc """
  Call a sink and return `:ok` or `{:error, reason}`: an exception becomes
  `{:sink_exception, exception}`, a throw or exit `{:sink_throw, {kind, reason}}`, any other
  answer `{:invalid_sink_result, answer}`, and a missing callback for the kind
  `{:unsupported_kind, sentence}`.
  """
  @spec write(module(), atom(), String.t(), map(), keyword()) :: :ok | {:error, term()}
  def write(sink, kind, document_id, summary, opts) do
    case call(sink, kind, document_id, summary, opts) do
      :ok -> :ok
      {:error, reason} -> {:error, reason}
      other -> {:error, {:invalid_sink_result, other}}
    end
  rescue
    exception -> {:error, {:sink_exception, exception}}
  catch
    kind, reason -> {:error, {:sink_throw, {kind, reason}}}
  end

  defp call(sink, kind, document_id, summary, opts) do
    Code.ensure_loaded!(sink)
    of_kind = :"upsert_#{kind}"

    cond do
      function_exported?(sink, :upsert, 4) ->
        sink.upsert(kind, document_id, summary, opts)

      function_exported?(sink, of_kind, 3) ->
        apply(sink, of_kind, [document_id, summary, opts])

      true ->
        {:error, {:unsupported_kind, "#{inspect(sink)} cannot write #{kind}: give it upsert/4"}}
    end
  end
end
