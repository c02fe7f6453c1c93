defmodule OpenAgentsRuntime.Runs.Executor do
  @moduledoc """
  One run, from `run.started` to its end; resumed when it was lost.  Some are canceled, some crash, in a transaction or out
  of one; some have a caller that nests an append in a transaction of its own, and rolls back or commits late.
  """
  alias OpenAgentsRuntime.Repo
  alias OpenAgentsRuntime.Runs.RunEvents

  def run(run_id) do
    started(run_id, status(run_id))
    for n <- 1..Enum.random(2..7), do: step(run_id, n)
    # Whoever crashes at every attempt is given up by the janitor.
    if one_in(run_id, 40), do: exit(:kaput)
    if one_in(run_id, 10), do: cancel(run_id), else: finish(run_id, "succeeded", nil, nil)
    if one_in(run_id, 14), do: nested(run_id, 0, :rollback)
  end

  defp started(run_id, "created") do
    {:ok, _} = RunEvents.append_event(run_id, "run.started")
    RunEvents.update_run(run_id, [{{"status", "text"}, "running"}])
  end

  defp started(_run_id, _resumed), do: :ok

  defp step(run_id, n) do
    Process.sleep(Enum.random(0..400))
    {:ok, _} = RunEvents.append_event(run_id, "run.delta", ~s({"step": #{n}}))
    if :rand.uniform(60) == 1, do: raise("the executor of #{run_id} crashes")
    if :rand.uniform(120) == 1, do: Repo.transaction(fn -> crash_in_transaction(run_id) end)
    if n == 2 and one_in(run_id, 9), do: nested(run_id, 0, :rollback)
    if n == 1 and one_in(run_id, 11), do: nested(run_id, Enum.random([50, 500, 5000]), :commit)
  end

  defp crash_in_transaction(run_id) do
    {:ok, _} = RunEvents.append_event(run_id, "run.ghost")
    Process.exit(self(), :kill)
  end

  # Nobody in the runtime does this but its tests.
  defp nested(run_id, ms, ending) do
    Repo.transaction(fn ->
      type = if ending == :rollback, do: "run.ghost", else: "run.late"
      for _ <- 1..Enum.random(1..3), do: {:ok, _} = RunEvents.append_event(run_id, type)
      Process.sleep(ms)
      if ending == :rollback, do: Repo.rollback(:no)
    end)
  end

  defp cancel(run_id) do
    {:ok, _} = RunEvents.append_event(run_id, "run.cancel_requested")
    RunEvents.update_run(run_id, [{{"status", "text"}, "canceling"}])
    Process.sleep(Enum.random(0..300))
    finish(run_id, "canceled", "cancel", "asked for")
  end

  @doc "The event, then the row: at once, after a while, or after everybody has stopped looking."
  def finish(run_id, status, class, reason) do
    {:ok, _} = RunEvents.append_event(run_id, "run.finished")
    Process.sleep(Enum.random([0, 0, 0, 50, 300, 1500, 4000]))

    RunEvents.update_run(run_id, [
      {{"status", "text"}, status},
      {{"terminal_reason_class", "text"}, class},
      {{"terminal_reason", "text"}, reason},
      {{"terminal_at", "timestamp"}, NaiveDateTime.utc_now()}
    ])
  end

  defp status(run_id), do: hd(hd(Repo.query!("SELECT status::text FROM runtime.runs WHERE run_id = $1::text", [run_id])))
  defp one_in(run_id, n), do: rem(:erlang.phash2({run_id, n}), n) == 0
end

defmodule OpenAgentsRuntime.Runs.Executor.Lost do
  @moduledoc "A run that was resumed often enough is marked failed."
  def run(run_id), do: OpenAgentsRuntime.Runs.Executor.finish(run_id, "failed", "executor_lost", "lost too often")
end
