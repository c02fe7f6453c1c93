defmodule OpenAgentsRuntime.Convex.SinkQueue do
  @moduledoc """
  The asynchronous form for a sink that is called in this VM (a sink of your own).

  An append only marks an entity in a public table. A few workers (configuration
  `convex_sink_workers`, 4) take marks one by one, read the event log, and call the sink. An
  entity that is marked again meanwhile is projected once more, however often it is marked, and
  never by two workers at once, so its documents keep their order. As in the runtime, a failing
  sink is reported (log, telemetry `write_failure`) and not called again: retrying is up to the
  sink, or the sidecar.

  Bounded: at most `convex_sink_queue_limit` marks (10,000). Marks beyond that become a
  sweep: all ids of that kind are projected, page by page, as soon as no mark is left.

  It is the sidecar's conveyor (`:convex_sidecar_conveyor`) with another way to hand batches over:
  batches of one entity, each projected by a process of its own. A VM has one, started with the
  application; its marks are lost when it ends.
  """
  use Supervisor

  @behaviour :convex_sidecar_conveyor

  alias OpenAgentsRuntime.Convex.{EventLog, Projector, Source}

  @limit 10_000

  @doc false
  def start_link(_opts), do: Supervisor.start_link(__MODULE__, nil, name: __MODULE__)

  @doc """
  Mark an entity that has changed. Options as for `Projector.project/3` (`:now` is set by the worker);
  equal options share a mark. Never waits.
  """
  @spec mark(atom(), String.t(), keyword()) :: :ok | {:error, :unavailable | :busy}
  def mark(kind, id, opts) do
    source = {__MODULE__, Keyword.delete(opts, :now)}
    :convex_sidecar_marks.mark(__MODULE__, kind, id, source, env(:convex_sink_queue_limit, @limit))
  end

  @doc "How much is left to do."
  @spec backlog() :: %{
          marks: non_neg_integer(),
          sweeps: non_neg_integer(),
          working: non_neg_integer()
        }
  def backlog do
    %{dirty: marks, in_flight: working, sweeps: sweeps} = :convex_sidecar.backlog(__MODULE__)
    %{marks: marks, sweeps: sweeps, working: working}
  end

  # This process owns the tables. Workers are linked to the conveyor and end with it.
  @impl Supervisor
  def init(nil) do
    tables = %{dest: {__MODULE__, node()}, dirty_limit: @limit, hint_limit: 1}
    __MODULE__ |> :convex_sidecar_instance.open(tables) |> :convex_sidecar_instance.set_up(true)
    options = %{name: __MODULE__, hand_over: __MODULE__, batch_limit: 1, request_ms: :infinity}
    start = {:convex_sidecar_conveyor, :start_link, [options]}

    Supervisor.init([%{id: :conveyor, start: start, shutdown: :brutal_kill}], strategy: :one_for_one)
  end

  # The ids of a sweep.
  @doc false
  def ids(kind, after_id, limit, opts),
    do: Source.ids(kind, after_id, limit, EventLog.module!(opts))

  @impl :convex_sidecar_conveyor
  def window, do: env(:convex_sink_workers, 4)

  @impl :convex_sidecar_conveyor
  def request({{kind, id}, {__MODULE__, opts}}, _info),
    do: {:ok, %{request: {kind, id, opts}, last: :undefined, more: false, events: 0}}

  @impl :convex_sidecar_conveyor
  def hand_over(__MODULE__, [{kind, id, opts}]) do
    {_pid, ref} =
      :erlang.spawn_opt(fn -> Projector.project(kind, id, [async: false] ++ opts) end, [
        :link,
        :monitor
      ])

    {:ok, ref}
  end

  # The VM logs a worker that dies; its entity may be taken again.
  @impl :convex_sidecar_conveyor
  def answer({:DOWN, ref, :process, _pid, _reason}, ref), do: {:reply, {:ok, [:ok]}}
  def answer(_message, _ref), do: :no

  defp env(key, default), do: Application.get_env(:openagents_runtime, key, default)
end
