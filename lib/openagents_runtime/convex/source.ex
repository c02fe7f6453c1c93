defmodule OpenAgentsRuntime.Convex.Source do
  @moduledoc """
  Adapts the projector's event log to the sidecar's client (`:convex_sidecar_source`).

  The argument of the source is the `OpenAgentsRuntime.Convex.EventLog` module, or, if several
  sidecars share the entities, `{module, member, members}`: its `ids` are only those of that
  member. A call's `projection_version` is added as `{:version, argument, version}`. Rows are cut
  down to the columns that the document copies, so that a wide table costs no more than a narrow
  one, and the result for each entity is reported as telemetry.
  """
  @behaviour :convex_sidecar_source

  alias OpenAgentsRuntime.Convex.{BigNumbers, EventLog, Projector, Sidecars, Summary, Telemetry}

  @doc """
  The source that reads `log` for one of several sidecars. `:configured` members are looked up
  when ids are read, so that a waiting sweep follows a change of the members.
  """
  @spec new(module(), Sidecars.member(), [Sidecars.member(), ...] | :configured, String.t() | nil) ::
          :convex_sidecar.source()
  def new(log, member, members, version \\ nil)
  def new(log, _member, [_one], version), do: {__MODULE__, with_version(log, version)}

  def new(log, member, members, version),
    do: {__MODULE__, with_version({log, member, members}, version)}

  @doc "The same source, for a catch-up or a sweep, whose documents wait in the bulk lane."
  @spec of(:convex_sidecar.source(), :catch_up | :sweep) :: :convex_sidecar.source()
  def of({__MODULE__, arg}, origin), do: {__MODULE__, {:origin, arg, origin}}

  defp with_version(arg, version) when version in [nil, ""], do: arg
  defp with_version(arg, version), do: {:version, arg, version}

  @impl :convex_sidecar_source
  def options({:version, _arg, version}), do: %{projection_version: version}
  def options({:origin, arg, origin}), do: Map.put(options(arg), :origin, origin)
  def options(_arg), do: %{}

  @impl :convex_sidecar_source
  def in_transaction(arg), do: EventLog.in_transaction?(log(arg))

  @impl :convex_sidecar_source
  def row(kind, id, arg) do
    case log(arg).row(kind, id) do
      {:ok, row} -> {:ok, sendable(kind, row, log(arg))}
      :error -> :error
    end
  end

  @impl :convex_sidecar_source
  def events_after(kind, id, seq, limit, arg), do: log(arg).events_after(kind, id, seq, limit)

  @impl :convex_sidecar_source
  def many(arg), do: EventLog.many?(log(arg))

  @impl :convex_sidecar_source
  def rows(kind, ids, arg) do
    log = log(arg)
    for {id, row} <- log.rows(kind, ids), into: %{}, do: {id, sendable(kind, row, log)}
  end

  # The row's version is passed beside its columns, under a key that no column has.
  defp sendable(kind, row, log) do
    sent = kind |> Summary.columns(row) |> BigNumbers.sendable()
    version = if function_exported?(log, :version_of, 1), do: log.version_of(row)
    if version, do: Map.put(sent, :"$version", version), else: sent
  end

  @impl :convex_sidecar_source
  def events_of(kind, froms, limit, arg), do: log(arg).events_of(kind, froms, limit)

  @impl :convex_sidecar_source
  def ids(kind, :undefined, limit, arg), do: ids(kind, nil, limit, arg)

  def ids(kind, after_id, limit, arg) do
    page = log(arg).ids(kind, after_id, limit)

    # Skips pages without ids of this member, since an empty answer would mean the end.
    case own(page, kind, arg) do
      [] when page != [] -> ids(kind, List.last(page), limit, arg)
      mine -> mine
    end
  end

  # Leaves out the ids of other members.
  @impl :convex_sidecar_source
  def changed_since(kind, since_ms, limit, arg) do
    log = log(arg)

    ids =
      if function_exported?(log, :changed_since, 3),
        do: log.changed_since(kind, DateTime.from_unix!(since_ms, :millisecond), limit),
        else: []

    {if(length(ids) < limit, do: :all, else: :more), own(ids, kind, arg)}
  end

  defp own(ids, kind, arg) do
    case plain(arg) do
      {_log, member, members} -> Enum.filter(ids, &mine?(kind, &1, member, members))
      _log -> ids
    end
  end

  # Neither form reports a deleted row.
  @impl :convex_sidecar_source
  def done(_kind, _id, {:error, :not_found}, _duration_ms, _arg), do: :ok

  def done(kind, id, outcome, duration_ms, _arg) do
    Telemetry.projected(kind, id, Projector.in_runtimes_words(kind, outcome), duration_ms)
  end

  defp mine?(kind, id, member, members) do
    members = if members == :configured, do: Sidecars.members(), else: members
    Sidecars.owner(members, Summary.document_id(kind, id)) == member
  end

  defp log(arg) do
    case plain(arg) do
      {log, _member, _members} -> log
      log -> log
    end
  end

  # The argument without version and origin.
  defp plain({word, arg, _}) when word in [:version, :origin], do: plain(arg)
  defp plain(arg), do: arg
end
