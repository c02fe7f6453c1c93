defmodule OpenAgentsRuntime.Convex.Sink do
  @moduledoc """
  Where finished documents go. The sidecar has its own sinks; this behaviour stays for those
  of the runtime's users.
  """

  @doc "Write a run's document; `opts` are the call's `:sink_opts`."
  @callback upsert_run_summary(document_id :: String.t(), summary :: map(), opts :: keyword()) ::
              :ok | {:error, term()}

  @doc "Write a codex worker's document."
  @callback upsert_codex_worker_summary(
              document_id :: String.t(),
              summary :: map(),
              opts :: keyword()
            ) :: :ok | {:error, term()}

  @doc """
  Call a sink and make its answer `:ok` or `{:error, reason}`: an exception is
  `{:sink_exception, exception}`, a throw or exit `{:sink_throw, {kind, reason}}`, any other
  answer `{:invalid_sink_result, answer}`.
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

  defp call(sink, :run_summary, document_id, summary, opts),
    do: sink.upsert_run_summary(document_id, summary, opts)

  defp call(sink, :codex_worker_summary, document_id, summary, opts),
    do: sink.upsert_codex_worker_summary(document_id, summary, opts)
end
