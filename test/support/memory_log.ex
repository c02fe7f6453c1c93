defmodule MemoryLog do
  @moduledoc """
  An event log in a public table, as source of the conveyor (`:convex_sidecar_source`) and as
  `OpenAgentsRuntime.Convex.EventLog`. It can be told to fail; the `EventLog` form reads the
  table that the test made last.
  """
  @behaviour :convex_sidecar_source
  @behaviour OpenAgentsRuntime.Convex.EventLog

  @doc "A new log, owned by the test; `{MemoryLog, {table, test}}` is its source."
  def new do
    table = :ets.new(:memory_log, [:ordered_set, :public])
    :persistent_term.put(__MODULE__, table)
    {__MODULE__, {table, self()}}
  end

  @doc "Add an entity with `n` events."
  def add({_, {table, _}} = source, id, n, columns \\ %{}, kind \\ :run_summary) do
    row = Map.merge(%{run_id: id, latest_seq: 0, status: "running"}, columns)
    :ets.insert(table, {{kind, id}, row})
    append(source, id, n, kind)
  end

  @doc "Append `n` events."
  def append({_, {table, _}}, id, n, kind \\ :run_summary) do
    [{_, row}] = :ets.lookup(table, {kind, id})

    for seq <- (row.latest_seq + 1)..(row.latest_seq + n)//1 do
      :ets.insert(table, {{:event, kind, id, seq}, Map.put(event(seq, "run.delta"), :payload, %{large: true})})
    end

    :ets.insert(table, {{kind, id}, %{row | latest_seq: row.latest_seq + n}})
  end

  @doc "Change columns of a row."
  def update({_, {table, _}}, id, columns, kind \\ :run_summary) do
    [{_, row}] = :ets.lookup(table, {kind, id})
    :ets.insert(table, {{kind, id}, Map.merge(row, columns)})
  end

  @doc "Make reads of this id (or of everything, `:all`) raise, or not."
  def fail({_, {table, _}}, id, fails?), do: :ets.insert(table, {{:fail, id}, fails?})

  @doc "How many reads have raised."
  def failures({_, {table, _}}), do: :ets.lookup_element(table, :failures, 2)

  @doc "Another event stands in the place of one, as after a transaction that rolled back."
  def replace({_, {table, _}}, id, seq, type),
    do: :ets.update_element(table, {:event, :run_summary, id, seq}, {2, event(seq, type)})

  defp event(seq, type), do: %{seq: seq, event_type: type, inserted_at: ~U[2026-02-19 20:00:00.000000Z]}

  @doc "Take an event out of the log."
  def lose({_, {table, _}}, id, seq), do: :ets.delete(table, {:event, :run_summary, id, seq})

  @impl :convex_sidecar_source
  def row(kind, id, {table, _test}) do
    maybe_fail(table, id)

    case :ets.lookup(table, {kind, id}) do
      [{_, row}] -> {:ok, row}
      [] -> :error
    end
  end

  @impl :convex_sidecar_source
  def events_after(kind, id, seq, limit, {table, _test}) do
    maybe_fail(table, id)
    match = [{{{:event, kind, id, :"$1"}, :"$2"}, [{:>, :"$1", seq}], [:"$2"]}]

    case :ets.select(table, match, limit) do
      {events, _} -> events
      :"$end_of_table" -> []
    end
  end

  @impl :convex_sidecar_source
  def ids(kind, after_id, limit, {table, _test}) do
    maybe_fail(table, :all)
    from = if after_id in [:undefined, nil], do: "", else: after_id
    match = [{{{kind, :"$1"}, :_}, [{:>, :"$1", from}], [:"$1"]}]

    case :ets.select(table, match, limit) do
      {ids, _} -> ids
      :"$end_of_table" -> []
    end
  end

  @impl :convex_sidecar_source
  def done(kind, id, outcome, _duration_ms, {_table, test}),
    do: send(test, {:done, kind, id, outcome})

  @impl OpenAgentsRuntime.Convex.EventLog
  def row(kind, id), do: row(kind, id, {last(), nil})
  @impl OpenAgentsRuntime.Convex.EventLog
  def events_after(kind, id, seq, limit), do: events_after(kind, id, seq, limit, {last(), nil})
  @impl OpenAgentsRuntime.Convex.EventLog
  def ids(kind, after_id, limit), do: ids(kind, after_id, limit, {last(), nil})

  defp last, do: :persistent_term.get(__MODULE__)

  defp maybe_fail(table, id) do
    for {_, true} <- :ets.lookup(table, {:fail, id}) ++ :ets.lookup(table, {:fail, :all}) do
      :ets.update_counter(table, :failures, 1, {:failures, 0})
      raise "the event log is ill"
    end
  end
end
