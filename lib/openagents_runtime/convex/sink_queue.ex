defmodule OpenAgentsRuntime.Convex.SinkQueue do
  @moduledoc """
  The asynchronous form for a sink that is called in this VM (a sink of your own).

  An append marks an entity in a public table, and is done. A few workers (configuration
  `convex_sink_workers`, default 4) take marks one by one, read the event log, and call the
  sink; an entity that is marked again meanwhile is one more turn, never a heap of them, and
  no entity has two turns at once, so its documents keep their order. As ever, a sink that
  fails is told (log, telemetry `write_failure`) and not asked again: retries are its own
  affair, or the sidecar's.

  Bounded: at most `convex_sink_queue_limit` marks (10,000). What is marked beyond becomes a
  sweep: all ids of that kind are projected, in pages, once the table is empty.

  One for the VM, started with the application. When it crashes, so do its marks: the next
  event of each entity makes it right, as it does after a failed write.
  """
  use GenServer

  require Logger

  alias OpenAgentsRuntime.Convex.{EventLog, Projector}

  @marks __MODULE__.Marks
  @sweeps __MODULE__.Sweeps
  @page 1000

  @doc false
  def start_link(_opts), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc """
  The entity has changed. Options as for `Projector.project/3`; equal options share a mark.
  A table insert, and a message when nobody is at work.
  """
  @spec mark(atom(), String.t(), keyword()) :: :ok | {:error, :unavailable}
  def mark(kind, id, opts) do
    if :ets.info(@marks, :size) < limit(),
      do: :ets.insert(@marks, {{kind, id, opts}}),
      else: :ets.member(@marks, {kind, id, opts}) || :ets.insert(@sweeps, {{kind, opts}})

    if :ets.update_counter(@sweeps, :awake, {2, 1, 1, 1}, {:awake, 0}) == 1, do: wake()
    :ok
  rescue
    # Not started: its tables are not there.
    ArgumentError -> {:error, :unavailable}
  end

  @doc "How much is left to do."
  @spec backlog() :: %{marks: non_neg_integer(), sweeps: non_neg_integer(), working: non_neg_integer()}
  def backlog, do: GenServer.call(__MODULE__, :backlog)
