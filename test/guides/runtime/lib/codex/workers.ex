defmodule OpenAgentsRuntime.Codex.Workers do
  @moduledoc "Workers: a row first, then `worker.started`; heartbeats are events; what stops has its row first, then its event."
  alias OpenAgentsRuntime.Convex.Projector
  alias OpenAgentsRuntime.Repo

  @utc "clock_timestamp() AT TIME ZONE 'UTC'"

  def create(worker_id) do
    Repo.query!(
      "INSERT INTO runtime.codex_workers (worker_id, owner_user_id, workspace_ref, adapter, status, metadata, started_at, inserted_at, updated_at) " <>
        "VALUES ($1::text, 7, 'workspace of ' || $1::text, 'in_memory', 'starting', '{\"limits\": {\"cpu\": 1.5, \"bytes\": 1.0e16}}', " <>
        "#{@utc}, #{@utc}, #{@utc}) ON CONFLICT DO NOTHING",
      [worker_id]
    )
  end

  def append_event(worker_id, type) do
    {:ok, seq} = Repo.transaction(fn -> append(worker_id, type) end)
    Registry.dispatch(OpenAgentsRuntime.PubSub, worker_id, fn some -> for {pid, _} <- some, do: send(pid, {type, seq}) end)

    case Projector.project_codex_worker(worker_id) do
      {:ok, _} -> :ok
      {:error, _} -> :ok
    end
  end

  defp append(worker_id, type) do
    [[seq]] =
      Repo.query!(
        "UPDATE runtime.codex_workers SET latest_seq = latest_seq + 1, last_heartbeat_at = #{@utc} WHERE worker_id = $1::text RETURNING latest_seq::text",
        [worker_id]
      )

    Repo.query!(
      "INSERT INTO runtime.codex_worker_events (worker_id, seq, event_type, payload, inserted_at) " <>
        "VALUES ($1::text, ($2::text)::bigint, $3::text, '{}', #{@utc})",
      [worker_id, seq, type]
    )

    seq
  end

  def update(worker_id, status, more \\ "") do
    Repo.query!(
      "UPDATE runtime.codex_workers SET status = $2::text, #{more}updated_at = #{@utc} WHERE worker_id = $1::text",
      [worker_id, status]
    )
  end

  def status(worker_id) do
    Repo.query!("SELECT status::text FROM runtime.codex_workers WHERE worker_id = $1::text", [worker_id])
  end

  @doc "Its life, or what is left of it."
  def run(worker_id) do
    case status(worker_id) do
      [[ended]] when ended in ["stopped", "failed"] -> :ok
      [["starting"]] -> start(worker_id) && beat(worker_id)
      [["running"]] -> beat(worker_id)
      [["stopping"]] -> stop_worker(worker_id)
    end
  end

  defp start(worker_id) do
    append_event(worker_id, "worker.started")
    update(worker_id, "running")
  end

  defp beat(worker_id) do
    Process.sleep(Enum.random(1..5000))
    append_event(worker_id, "worker.heartbeat")
    if :rand.uniform(60) == 1, do: exit(:worker_crashes)

    case :rand.uniform(8) do
      1 -> update(worker_id, "stopping") && stop_worker(worker_id)
      2 -> append_event(worker_id, "worker.failed") && update(worker_id, "failed")
      _ -> beat(worker_id)
    end
  end

  defp stop_worker(worker_id) do
    update(worker_id, "stopped", "stopped_at = #{@utc}, ")
    append_event(worker_id, "worker.stopped")
  end
end

defmodule OpenAgentsRuntime.Codex.Supervisor do
  @moduledoc "Starts the workers that were asked for, and goes on with those that a crash has left."
  use GenServer
  alias OpenAgentsRuntime.Codex.Workers
  alias OpenAgentsRuntime.{Repo, RuntimeSupervisor}

  @tick_ms 500

  def start_link(_), do: GenServer.start_link(__MODULE__, [], name: __MODULE__)

  @impl true
  def init(_), do: {:ok, :tick, {:continue, :tick}}

  @impl true
  def handle_continue(:tick, state), do: handle_info(:tick, state)

  @impl true
  def handle_info(:tick, state) do
    asked =
      Repo.query!(
        "SELECT worker_id FROM worker_requests r WHERE NOT EXISTS (SELECT FROM runtime.codex_workers w WHERE w.worker_id = r.worker_id)"
      )

    for [id] <- asked, do: Workers.create(id)
    going = Repo.query!("SELECT worker_id::text FROM runtime.codex_workers WHERE status NOT IN ('stopped', 'failed')")
    for [id] <- going, do: RuntimeSupervisor.start_once(Workers, id)
    Process.send_after(self(), :tick, @tick_ms)
    {:noreply, state}
  end
end
