defmodule MyApp.EventLog do
  @moduledoc "What an event log was before SqlEventLog: three queries, entity by entity."
  @behaviour OpenAgentsRuntime.Convex.EventLog

  alias MyApp.Repo

  @impl true
  def row(:run_summary, id) do
    case ask(
           "SELECT run_id, status, owner_user_id::text, latest_seq::text, updated_at::text FROM runtime.runs WHERE run_id = $1",
           [id]
         ) do
      [[id, status, owner, seq, at]] ->
        {:ok,
         %{
           run_id: id,
           status: status,
           owner_user_id: String.to_integer(owner),
           latest_seq: String.to_integer(seq),
           updated_at: at
         }}

      [] ->
        :error
    end
  end

  def row(_kind, _id), do: :error

  @impl true
  def events_after(:run_summary, id, seq, limit) do
    sql = """
    SELECT seq::text, event_type, to_char(inserted_at, 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') FROM runtime.run_events
    WHERE run_id = $1 AND seq > ($2::text)::bigint ORDER BY seq LIMIT ($3::text)::bigint
    """

    for [seq, type, at] <- ask(sql, [id, Integer.to_string(seq), Integer.to_string(limit)]),
        do: %{seq: String.to_integer(seq), event_type: type, inserted_at: at}
  end

  @impl true
  def ids(:run_summary, after_id, limit) do
    sql = "SELECT run_id FROM runtime.runs WHERE run_id > $1 ORDER BY run_id LIMIT ($2::text)::bigint"
    Enum.map(ask(sql, [after_id || "", Integer.to_string(limit)]), &hd/1)
  end

  def ids(_kind, _after_id, _limit), do: []

  defp ask(sql, params) do
    {:ok, {_command, rows}} = Repo.query!(sql, params)
    for row <- rows, do: Enum.map(row, &text/1)
  end

  defp text({_type, value}), do: text(value)
  defp text(value), do: value
end
