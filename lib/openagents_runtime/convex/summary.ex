defmodule OpenAgentsRuntime.Convex.Summary do
  @moduledoc """
  Documents as pure functions, of any kind of `OpenAgentsRuntime.Convex.Kinds`.

  The sidecar builds documents itself; this module builds the same ones for sinks of your own
  (`OpenAgentsRuntime.Convex.Sink`), from the row and its events.
  """

  import OpenAgentsRuntime.Convex.EventLog, only: [value: 2]

  alias OpenAgentsRuntime.Convex.Kinds

  @typedoc "What a document needs of the events: how many there are, and the last one."
  @type events_info :: %{count: non_neg_integer(), latest: map() | nil}

  @default_projection_version "convex_summary_v1"

  @doc "The document id of an entity."
  @spec document_id(atom(), String.t()) :: String.t()
  def document_id(kind, id) when is_binary(id) do
    case Kinds.find(kind) do
      %{prefix: prefix} -> prefix <> id
      nil -> "runtime/#{kind}:#{id}"
    end
  end

  @doc "`runtime_source.entity` of a kind, which is also the scope of its rebuilds."
  @spec scope(atom()) :: String.t()
  def scope(kind) do
    case Kinds.find(kind) do
      %{entity: entity} -> entity
      nil -> to_string(kind)
    end
  end

  @doc """
  The columns of a row that the sidecar needs: those of the kind's document, its id and `latest_seq`;
  for a kind that only the sidecar knows, everything but a struct's own fields.
  """
  @spec columns(atom(), map()) :: map()
  def columns(kind, row) do
    case Kinds.find(kind) do
      %{columns: columns} -> Map.take(row, columns)
      nil -> Map.drop(row, [:__struct__, :__meta__])
    end
  end

  @doc "The document of a kind. Options: `:now` (a `DateTime`), `:projection_version`."
  @spec summary(atom(), map(), events_info(), keyword()) :: map()
  def summary(kind, row, %{count: count, latest: latest}, opts) do
    %{entity: entity, id_field: id_field, fields: fields, maps: maps} = Kinds.fetch!(kind)
    id = value(row, id_field)
    seq = if latest, do: value(latest, :seq), else: value(row, :latest_seq) || 0

    fields
    |> Map.new(fn field -> {Atom.to_string(field), column(row, field, field in maps)} end)
    |> Map.merge(%{
      "document_id" => document_id(kind, id),
      "kind" => Atom.to_string(kind),
      Atom.to_string(id_field) => id,
      "latest_seq" => seq,
      "event_count" => count,
      "latest_event_type" => latest && value(latest, :event_type),
      "latest_event_at" => latest && plain(value(latest, :inserted_at)),
      "runtime_source" => %{"entity" => entity, Atom.to_string(id_field) => id, "seq" => seq},
      "projection_version" => projection_version(opts),
      "projected_at" => plain(Keyword.get(opts, :now) || DateTime.utc_now())
    })
  end

  @page 5000

  @doc "The number of events of an entity and the last one, read page by page."
  @spec events_info(module(), atom(), String.t()) :: events_info()
  def events_info(log, kind, id), do: events_info(log, kind, id, %{count: 0, latest: nil}, 0)

  defp events_info(log, kind, id, info, seq) do
    case log.events_after(kind, id, seq, @page) do
      [] ->
        info

      events ->
        latest = List.last(events)
        info = %{count: info.count + length(events), latest: latest}

        if length(events) < @page,
          do: info,
          else: events_info(log, kind, id, info, value(latest, :seq))
    end
  end

  @doc """
  Whether a finished document has valid provenance fields: `:ok`, or
  `{:error, :runtime_seq_missing | :projection_version_missing | :projected_at_missing | :projected_at_invalid}`.
  """
  @spec validate(map()) :: :ok | {:error, atom()}
  def validate(summary) do
    cond do
      not seq?(summary) -> {:error, :runtime_seq_missing}
      not version?(summary) -> {:error, :projection_version_missing}
      true -> projected_at(Map.get(summary, "projected_at"))
    end
  end

  defp seq?(%{"runtime_source" => %{"seq" => seq}}), do: is_integer(seq) and seq >= 0
  defp seq?(_summary), do: false

  defp version?(%{"projection_version" => version}), do: is_binary(version) and version != ""
  defp version?(_summary), do: false

  defp projected_at(%DateTime{}), do: :ok

  defp projected_at(text) when is_binary(text) do
    case DateTime.from_iso8601(text) do
      {:ok, _time, _offset} -> :ok
      {:error, _why} -> {:error, :projected_at_invalid}
    end
  end

  defp projected_at(_other), do: {:error, :projected_at_missing}

  defp projection_version(opts) do
    configured = Application.get_env(:openagents_runtime, :convex_projection_version)

    Enum.find(
      [opts[:projection_version], configured],
      @default_projection_version,
      &(&1 not in [nil, ""])
    )
  end

  defp column(row, field, true), do: value(row, field) || %{}
  defp column(row, field, false), do: plain(value(row, field))

  defp plain(%DateTime{} = time), do: DateTime.to_iso8601(time)
  defp plain(%NaiveDateTime{} = time), do: NaiveDateTime.to_iso8601(time)
  defp plain(value), do: value
end
