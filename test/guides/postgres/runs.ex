defmodule MyApp.Runs do
  @moduledoc "Appends as the runtime makes them: a transaction, and after its commit what the page says."
  alias MyApp.Repo

  def append(run_id, event_type, status \\ "running") do
    {:ok, _} =
      Repo.transaction(fn ->
        Repo.query!(
          """
          INSERT INTO runtime.runs (run_id, status, owner_user_id, latest_seq, inserted_at, updated_at)
          VALUES ($1, $2, 7, 1, now(), now()) ON CONFLICT (run_id) DO UPDATE SET
            latest_seq = runs.latest_seq + 1, status = excluded.status, updated_at = now()
          """,
          [run_id, status]
        )

        Repo.query!(
          """
          INSERT INTO runtime.run_events (run_id, seq, event_type, inserted_at)
          SELECT run_id, latest_seq, $2, now() FROM runtime.runs WHERE run_id = $1
          """,
          [run_id, event_type]
        )
      end)

    # AFTER THE COMMIT
  end
end
