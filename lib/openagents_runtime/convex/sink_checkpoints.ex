defmodule OpenAgentsRuntime.Convex.SinkCheckpoints do
  @moduledoc """
  What a sink that is called in this VM has written: seq, version and hash of each document, so that an unchanged
  document is skipped, and lag and drift are reported, by the rules of the sidecar (docs/DESIGN.md, "Write or skip").

  A sink with other `:sink_opts` counts as another destination. The checkpoints are in memory, at most
  `convex_sink_checkpoint_limit` documents (100,000; beyond that all are forgotten). A document that is forgotten, for
  that reason or because the VM restarted, is written once more.
  """

  @limit 100_000

  @type checkpoint :: %{seq: integer(), version: term(), hash: String.t() | nil}
  @type decision :: %{write?: boolean(), reason: String.t() | nil, lag_events: non_neg_integer()}

  # The table belongs to the application.
  @doc false
  def open do
    _ =
      :ets.new(__MODULE__, [
        :set,
        :public,
        :named_table,
        read_concurrency: true,
        write_concurrency: true
      ])

    :ok
  end

  @doc "The sink's checkpoint of the document."
  @spec find({module(), keyword()}, String.t()) :: checkpoint() | nil
  def find(sink_and_opts, document_id) do
    case :ets.lookup(__MODULE__, {sink_and_opts, document_id}) do
      [{_key, checkpoint}] -> checkpoint
      [] -> nil
    end
  end

  @doc "Note that the sink has written this version."
  @spec put({module(), keyword()}, String.t(), checkpoint()) :: :ok
  def put(sink_and_opts, document_id, checkpoint) do
    limit = Application.get_env(:openagents_runtime, :convex_sink_checkpoint_limit, @limit)
    if :ets.info(__MODULE__, :size) >= limit, do: forget_all()
    :ets.insert(__MODULE__, {{sink_and_opts, document_id}, checkpoint})
    :ok
  end

  @doc "Forget all checkpoints: the next projection of each document is written, whatever it is."
  @spec forget_all() :: :ok
  def forget_all do
    :ets.delete_all_objects(__MODULE__)
    :ok
  end

  @doc "Whether to write or skip, and why; `:force` and `:reset` as in `Projector.project/3`."
  @spec decide(checkpoint() | nil, checkpoint(), keyword()) :: decision()
  def decide(standing, coming, opts) do
    case compare(standing, coming) do
      {:write, reason, lag} -> %{write?: true, reason: reason, lag_events: lag}
      {:lower, reason} -> %{write?: opts[:reset] == true, reason: reason, lag_events: 0}
      {:same, reason} -> same(opts[:force] == true, reason)
    end
  end

  defp same(true, _reason), do: %{write?: true, reason: nil, lag_events: 0}
  defp same(false, reason), do: %{write?: false, reason: reason, lag_events: 0}

  defp compare(nil, %{seq: seq}), do: {:write, nil, seq}
  defp compare(%{seq: old}, %{seq: new}) when new < old, do: {:lower, "checkpoint_ahead"}
  defp compare(%{seq: old}, %{seq: new}) when new > old, do: {:write, nil, new - old}

  defp compare(%{version: old}, %{version: new}) when new != old,
    do: {:write, "projection_version_changed", 0}

  defp compare(%{hash: hash}, %{hash: hash}) when hash != nil, do: {:same, "idempotent"}
  defp compare(_standing, _coming), do: {:write, "summary_hash_mismatch", 0}
end
