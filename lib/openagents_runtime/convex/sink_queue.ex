defmodule OpenAgentsRuntime.Convex.SinkQueue do
  @moduledoc """
  The asynchronous form for a sink that is called in this VM (a sink of your own).

  An append marks an entity in a public table, and is done. A few workers (configuration
  `convex_sink_workers`, 4) take marks one by one, read the event log, and call the sink. An
  entity that is marked again meanwhile has one more turn, however often it is marked, and
  never two turns at once, so its documents keep their order. As ever, a sink that fails is
  told (log, telemetry `write_failure`) and not asked again: retries are its own affair, or
  the sidecar's.

  Bounded: at most `convex_sink_queue_limit` marks (10,000). What is marked beyond becomes a
  sweep: all ids of that kind are projected, page by page, as soon as no mark is left.

  One for the VM, started with the application. When it crashes, its marks are gone with it:
  the next event of each entity makes it right, as after a failed write.
  """
  use GenServer

  require Logger

  alias OpenAgentsRuntime.Convex.{EventLog, Projector}

  @marks __MODULE__.Marks
  @sweeps __MODULE__.Sweeps
  @page 1000
  # Kinds times different options; more is a caller that makes options up.
  @max_sweeps 100
  # The one flag: 1 when nobody looks at the table until it is woken.
  @idle 1
  # Between two looks at an event log that fails.
  @ill_min_ms 1000
  @ill_max_ms 30_000

  @doc false
  def start_link(_opts), do: GenServer.start_link(__MODULE__, nil, name: __MODULE__)

  @doc """
  The entity has changed. Options as for `Projector.project/3` (`:now` is the worker's);
  equal options share a mark. Never waits.
  """
  @spec mark(atom(), String.t(), keyword()) :: :ok | {:error, :unavailable | :busy}
  def mark(kind, id, opts) do
    opts = Keyword.delete(opts, :now)
    key = {kind, id, opts}

    marked =
      if :ets.info(@marks, :size) < limit(),
        do: :ets.insert(@marks, {key}),
        else: :ets.member(@marks, key) or swept_later({kind, opts})

    wake()
    if marked, do: :ok, else: {:error, :busy}
  rescue
    # Its tables are not there: it is not started, or starts again.
    ArgumentError -> {:error, :unavailable}
  end

  defp swept_later(key) do
    :ets.member(@sweeps, key) or
      (:ets.info(@sweeps, :size) < @max_sweeps and :ets.insert(@sweeps, {key}))
  end

  defp wake do
    flag = :persistent_term.get(__MODULE__)

    with :ok <- :atomics.compare_exchange(flag, @idle, 1, 0),
         pid when is_pid(pid) <- Process.whereis(__MODULE__),
         do: send(pid, :wake)
  end

  @doc "How much is left to do."
  @spec backlog() :: %{
          marks: non_neg_integer(),
          sweeps: non_neg_integer(),
          working: non_neg_integer()
        }
  def backlog, do: GenServer.call(__MODULE__, :backlog)

  # ---- the process: hands marks to workers

  @impl GenServer
  def init(nil) do
    for table <- [@marks, @sweeps],
        do: :ets.new(table, [:ordered_set, :named_table, :public, write_concurrency: true])

    :persistent_term.put(__MODULE__, :atomics.new(1, []))
    state = %{working: %{}, cursor: nil, sweep: nil, ill_ms: @ill_min_ms, ill_timer: nil}
    {:ok, state, {:continue, :fill}}
  end

  @impl GenServer
  def handle_continue(:fill, state), do: {:noreply, fill(state)}

  @impl GenServer
  def handle_call(:backlog, _from, state) do
    sweeps = :ets.info(@sweeps, :size) + if(state.sweep, do: 1, else: 0)
    backlog = %{marks: :ets.info(@marks, :size), sweeps: sweeps, working: map_size(state.working)}
    {:reply, backlog, state}
  end

  @impl GenServer
  def handle_info(:wake, state), do: {:noreply, fill(state)}
  def handle_info(:look_again, state), do: {:noreply, fill(%{state | ill_timer: nil})}

  def handle_info({:DOWN, ref, :process, _pid, _reason}, state) when is_map_key(state.working, ref),
    do: {:noreply, fill(%{state | working: Map.delete(state.working, ref)})}

  def handle_info(_other, state), do: {:noreply, state}

  defp fill(state) do
    if map_size(state.working) >= workers() do
      # The next one that is done looks again.
      state
    else
      case next(state) do
        {nil, state} -> rest(state)
        {key, state} -> state |> start(key) |> fill()
      end
    end
  end

  # The flag goes up before the last look: a mark that came before is seen here, one that
  # comes after sends a wake-up.
  defp rest(state) do
    flag = :persistent_term.get(__MODULE__)
    :atomics.put(flag, @idle, 1)

    with {key, state} when key != nil <- next(state) do
      :atomics.put(flag, @idle, 0)
      state |> start(key) |> fill()
    else
      {nil, state} -> state
    end
  end

  # A worker that dies is logged by the VM; its entity is free again.
  defp start(state, {kind, id, opts} = key) do
    # Taken before the log is read: a mark that comes now is another turn.
    :ets.delete(@marks, key)
    {_pid, ref} = spawn_monitor(fn -> Projector.project(kind, id, opts) end)
    %{state | working: Map.put(state.working, ref, {kind, id}), cursor: key}
  end

  # Round and round after the cursor, so that entities marked again and again do not starve
  # the others; those that have a turn at the moment are left for later.
  defp next(%{working: working, cursor: cursor} = state) do
    busy = Map.values(working)

    case after_key(cursor, busy) || after_key(nil, busy) do
      nil -> next_page(state)
      key -> {key, state}
    end
  end

  defp after_key(from, busy) do
    case if(from, do: :ets.next(@marks, from), else: :ets.first(@marks)) do
      :"$end_of_table" -> nil
      {kind, id, _opts} = key -> if {kind, id} in busy, do: after_key(key, busy), else: key
    end
  end

  # No mark is free: the next page of a sweep becomes marks.
  defp next_page(%{ill_timer: timer} = state) when timer != nil, do: {nil, state}

  defp next_page(%{sweep: nil} = state) do
    case :ets.first(@sweeps) do
      :"$end_of_table" ->
        {nil, state}

      {kind, _opts} = key ->
        :ets.delete(@sweeps, key)
        Logger.warning("convex sink queue overflowed: all of #{kind} are projected")
        next_page(%{state | sweep: {key, nil}})
    end
  end

  defp next_page(%{sweep: {{kind, opts} = key, last}} = state) do
    case EventLog.module!(opts).ids(kind, last, @page) do
      [] ->
        next_page(%{state | sweep: nil})

      ids ->
        Enum.each(ids, &:ets.insert(@marks, {{kind, &1, opts}}))
        state = %{state | sweep: {key, List.last(ids)}, ill_ms: @ill_min_ms}
        busy = Map.values(state.working)
        # All of this page may be at work: then their end looks again.
        {after_key(nil, busy), state}
    end
  rescue
    exception ->
      Logger.error("convex sink queue: the event log failed: #{Exception.message(exception)}")
      :ets.insert(@sweeps, {key})
      timer = Process.send_after(self(), :look_again, state.ill_ms)
      ill_ms = min(state.ill_ms * 2, @ill_max_ms)
      {nil, %{state | sweep: nil, ill_timer: timer, ill_ms: ill_ms}}
  end

  defp limit, do: Application.get_env(:openagents_runtime, :convex_sink_queue_limit, 10_000)
  defp workers, do: Application.get_env(:openagents_runtime, :convex_sink_workers, 4)
end
