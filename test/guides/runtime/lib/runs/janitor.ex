defmodule OpenAgentsRuntime.Runs.Janitor do
  @moduledoc "Starts what another application has put there, resumes what has lost its executor, gives up after three times."
  use GenServer
  alias OpenAgentsRuntime.{Repo, RuntimeSupervisor}
  alias OpenAgentsRuntime.Runs.{Executor, RunEvents}

  @tick_ms 250
  @at_once 12
  @attempts 3

  def start_link(_), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  @impl true
  def init(_), do: {:ok, :tick, {:continue, :tick}}

  @impl true
  def handle_continue(:tick, state), do: handle_info(:tick, state)

  @impl true
  def handle_info(:tick, state) do
    [:lost, :created] |> Enum.flat_map(&runs/1) |> Enum.each(&one/1)
    Process.send_after(self(), :tick, @tick_ms)
    {:noreply, state}
  end

  defp runs(:lost) do
    Repo.query!(
      "SELECT run_id::text, status::text, recovery_attempt_count::text FROM runtime.runs WHERE status IN ('running', 'canceling')"
    )
    |> Enum.filter(fn [id | _] -> RuntimeSupervisor.alive(Executor, id) ++ RuntimeSupervisor.alive(Executor.Lost, id) == [] end)
  end

  defp runs(:created) do
    Repo.query!(
      "SELECT run_id::text, status::text, NULL::text FROM runtime.runs WHERE status = 'created' ORDER BY run_id LIMIT " <>
        "greatest(0, #{@at_once} - (SELECT count(*) FROM runtime.runs WHERE status IN ('running', 'canceling')))"
    )
  end

  defp one([run_id, "created", _]), do: RuntimeSupervisor.start_once(Executor, run_id)

  defp one([run_id, _status, attempts]) do
    attempts = String.to_integer(attempts || "0") + 1
    {:ok, _} = RunEvents.append_event(run_id, "run.executor_lost")

    RunEvents.update_run(run_id, [
      {{"recovery_attempt_count", "integer"}, attempts},
      {{"last_recovery_at", "timestamp"}, NaiveDateTime.utc_now()}
    ])

    RuntimeSupervisor.start_once(if(attempts > @attempts, do: Executor.Lost, else: Executor), run_id)
  end
end
