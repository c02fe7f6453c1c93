defmodule OpenAgentsRuntime.Convex.Source do
  @moduledoc """
  The projector's event log as the sidecar's client wants it (`:convex_sidecar_source`).

  The argument of the source is the `OpenAgentsRuntime.Convex.EventLog` module, or, where
  several sidecars share the entities, `{module, member, members}`: its `ids` are those that
  go to that member alone. Rows are cut down to the columns that the document copies, so that
  a wide table costs no more than a narrow one, and what became of each entity is told as
  telemetry.
  """
  @behaviour :convex_sidecar_source

  alias OpenAgentsRuntime.Convex.{EventLog, Sidecars, Summary, Telemetry}

  @doc """
  The source that reads `log` for one of several sidecars. `:configured` members are looked up
  when ids are read, so that a sweep that waits follows a change of the members.
  """
  @spec new(module(), Sidecars.member(), [Sidecars.member(), ...] | :configured) ::
          :convex_sidecar.source()
  def new(log, _member, [_one]), do: {__MODULE__, log}
  def new(log, member, members), do: {__MODULE__, {log, member, members}}

  @impl :convex_sidecar_source
  def row(kind, id, arg) do
    case log(arg).row(kind, id) do
      {:ok, row} -> {:ok, Summary.columns(kind, row)}
      :error -> :error
    end
  end

  @impl :convex_sidecar_source
  def events_after(kind, id, seq, limit, arg), do: log(arg).events_after(kind, id, seq, limit)

  @impl :convex_sidecar_source
  def many(arg), do: EventLog.many?(log(arg))

  @impl :convex_sidecar_source
  def rows(kind, ids, arg) do
    for {id, row} <- log(arg).rows(kind, ids), into: %{}, do: {id, Summary.columns(kind, row)}
  end

  @impl :convex_sidecar_source
  def events_of(kind, froms, limit, arg), do: log(arg).events_of(kind, froms, limit)

  @impl :convex_sidecar_source
  def ids(kind, :undefined, limit, arg), do: ids(kind, nil, limit, arg)

  def ids(kind, after_id, limit, {log, member, members} = arg) do
    case log.ids(kind, after_id, limit) do
      [] ->
        []

      ids ->
        # A page may hold none of this member's; an empty answer would be the end.
        case Enum.filter(ids, &mine?(kind, &1, member, members)) do
          [] -> ids(kind, List.last(ids), limit, arg)
          mine -> mine
        end
    end
  end

  def ids(kind, after_id, limit, log), do: log.ids(kind, after_id, limit)

  @impl :convex_sidecar_source
  def done(kind, id, outcome, duration_ms, _arg) do
    Telemetry.projected(kind, Summary.document_id(kind, id), outcome, duration_ms)
  end

  defp mine?(kind, id, member, members) do
    members = if members == :configured, do: Sidecars.members(), else: members
    Sidecars.owner(members, Summary.document_id(kind, id)) == member
  end

  defp log({log, _member, _members}), do: log
  defp log(log), do: log
end
