defmodule OpenAgentsRuntime.Runs.RunEvents do
  @moduledoc "Appends as the runtime makes them: one transaction, then the projection, in the appending process."
  alias OpenAgentsRuntime.Convex.Projector
  alias OpenAgentsRuntime.Repo

  @utc "clock_timestamp() AT TIME ZONE 'UTC'"

  def append_event(run_id, type, payload \\ "{}") do
    with {:ok, seq} <- Repo.transaction(fn -> append(run_id, type, payload) end) do
      maybe_project(run_id)
      {:ok, seq}
    end
  end

  # Raising latest_seq is what serializes the appenders of one run; updated_at stays as it is.
  defp append(run_id, type, payload) do
    [_row] = Repo.query!("SELECT status::text FROM runtime.runs WHERE run_id = $1::text", [run_id])

    [[seq]] =
      Repo.query!("UPDATE runtime.runs SET latest_seq = latest_seq + 1 WHERE run_id = $1::text RETURNING latest_seq::text", [run_id])

    prev =
      case Repo.query!("SELECT event_hash::text FROM runtime.run_events WHERE run_id = $1::text ORDER BY seq DESC LIMIT 1", [run_id]) do
        [[hash]] -> hash
        [] -> nil
      end

    hash = Base.encode16(:crypto.hash(:sha256, [prev || "", run_id, seq, type, payload]), case: :lower)

    Repo.query!(
      "INSERT INTO runtime.run_events (run_id, seq, event_type, payload, prev_hash, event_hash, inserted_at) " <>
        "VALUES ($1::text, ($2::text)::bigint, $3::text, ($4::text)::jsonb, $5::text, $6::text, #{@utc})",
      [run_id, seq, type, payload, prev, hash]
    )

    Repo.query!("SELECT pg_notify('runtime_run_events', $1::text)::text", [~s({"run_id":"#{run_id}","seq":#{seq}})])
    String.to_integer(seq)
  end

  defp maybe_project(run_id) do
    case Projector.project_run(run_id) do
      {:ok, _} -> :ok
      {:error, _} -> :ok
    end
  end

  @doc "The row changes, without an event, and nobody projects: as the executor does it after its appends."
  def update_run(run_id, columns) do
    {names, values} = Enum.unzip(columns)
    sets = for {{name, type}, i} <- Enum.with_index(names, 2), do: "#{name} = ($#{i}::text)::#{type}, "
    Repo.query!("UPDATE runtime.runs SET #{sets}updated_at = #{@utc} WHERE run_id = $1::text", [run_id | values])
    :ok
  end
end
