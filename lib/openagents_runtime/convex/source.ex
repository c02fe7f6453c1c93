defmodule OpenAgentsRuntime.Convex.Source do
  @moduledoc """
  The projector's event log as the sidecar's client wants it (`:convex_sidecar_source`).

  The argument of the source is the `OpenAgentsRuntime.Convex.EventLog` module. Rows are cut
  down to the columns that the document copies, so that a wide table costs no more than a
  narrow one, and what became of each entity is told as telemetry.
  """
  @behaviour :convex_sidecar_source

  alias OpenAgentsRuntime.Convex.{Summary, Telemetry}

  @doc "The source that reads `log`."
  @spec new(module()) :: :convex_sidecar.source()
  def new(log) when is_atom(log), do: {__MODULE__, log}

  @impl :convex_sidecar_source
  def row(kind, id, log) do
    case log.row(kind, id) do
      {:ok, row} -> {:ok, Summary.columns(kind, row)}
      :error -> :error
    end
  end

  @impl :convex_sidecar_source
  def events_after(kind, id, seq, limit, log), do: log.events_after(kind, id, seq, limit)

  @impl :convex_sidecar_source
  def ids(kind, :undefined, limit, log), do: log.ids(kind, nil, limit)
  def ids(kind, after_id, limit, log), do: log.ids(kind, after_id, limit)

  @impl :convex_sidecar_source
  def done(kind, id, outcome, duration_ms, _log) do
    Telemetry.projected(kind, Summary.document_id(kind, id), outcome, duration_ms)
  end
end
