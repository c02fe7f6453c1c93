defmodule OpenAgentsRuntime.Convex.DiskEventLog do
  @moduledoc """
  An event log on OTP's `disk_log`: complete, durable, small. For demonstrations, tests and
  runtimes without a database.

      {:ok, _} = DiskEventLog.start_link(dir: "/var/lib/runtime")
      :ok = DiskEventLog.create_run("run_1", %{thread_id: "t", status: "running"})
      {:ok, 1} = DiskEventLog.append_event("run_1", "run.started", %{})

  Every change is one term appended to one log. It is answered once it has been synced to
  disk, and changes that arrive meanwhile share the next sync. Reads use tables that are
  rebuilt from the log at start, so all rows and events must fit into memory.

  What can go wrong: the disk is full or fails. Then every waiting caller gets
  `{:error, {:store, reason}}`, the process ends, and when it restarts it reads what is really
  on disk (`disk_log` repairs a torn end). A node has one such log, under this module's name.
  """
  use GenServer

  @behaviour OpenAgentsRuntime.Convex.EventLog

  alias OpenAgentsRuntime.Convex.Kinds

  @rows __MODULE__.Rows
  @events __MODULE__.Events
  @max_group 1000

  @type error :: {:error, :exists | :not_found | {:store, term()}}

  # ---- writing

  @doc "Open the log in `:dir`, which is created if it does not exist."
  @spec start_link(keyword()) :: GenServer.on_start()
  def start_link(opts),
    do: GenServer.start_link(__MODULE__, Keyword.fetch!(opts, :dir), name: __MODULE__)

  @doc "Create an entity of a kind, with these columns."
  @spec create(atom(), String.t(), map()) :: :ok | error
  def create(kind, id, columns) do
    columns = Map.put(columns, Kinds.fetch!(kind).id_field, id)
    write({:create, {kind, id}, columns, DateTime.utc_now()})
  end

  @doc """
  Append an event to an entity of a kind; returns its `seq`. Options: `:inserted_at`, and
  `:row`, columns that change with the event.
  """
  @spec append(atom(), String.t(), String.t(), map(), keyword()) :: {:ok, pos_integer()} | error
  def append(kind, id, type, payload \\ %{}, opts \\ []) do
    at = Keyword.get_lazy(opts, :inserted_at, &DateTime.utc_now/0)

    event = %{
      Kinds.fetch!(kind).id_field => id,
      event_type: type,
      payload: payload,
      inserted_at: at
    }

    write({:append, {kind, id}, event, Keyword.get(opts, :row, %{})})
  end

  @doc "Create a run with these columns."
  @spec create_run(String.t(), map()) :: :ok | error
  def create_run(run_id, columns \\ %{}),
    do: create(:run_summary, run_id, columns)

  @doc "Create a codex worker with these columns."
  @spec create_worker(String.t(), map()) :: :ok | error
  def create_worker(worker_id, columns \\ %{}),
    do: create(:codex_worker_summary, worker_id, columns)

  @doc "Append an event to a run, as `append/5` does."
  @spec append_event(String.t(), String.t(), map(), keyword()) :: {:ok, pos_integer()} | error
  def append_event(run_id, type, payload \\ %{}, opts \\ []),
    do: append(:run_summary, run_id, type, payload, opts)

  @doc "Append an event to a codex worker."
  @spec append_worker_event(String.t(), String.t(), map(), keyword()) ::
          {:ok, pos_integer()} | error
  def append_worker_event(worker_id, type, payload \\ %{}, opts \\ []),
    do: append(:codex_worker_summary, worker_id, type, payload, opts)

  @doc "Change columns of a row (a heartbeat, say) without an event."
  @spec update_row(atom(), String.t(), map()) :: :ok | error
  def update_row(kind, id, columns), do: write({:update, {kind, id}, columns, DateTime.utc_now()})

  defp write(change), do: GenServer.call(__MODULE__, change, :infinity)

  # ---- reading: straight from the tables, in the process that asks

  @impl OpenAgentsRuntime.Convex.EventLog
  def row(kind, id) do
    case :ets.lookup(@rows, {kind, id}) do
      [{_key, row}] -> {:ok, row}
      [] -> :error
    end
  end

  @impl OpenAgentsRuntime.Convex.EventLog
  def events_after(kind, id, seq, limit) do
    take(@events, {kind, id, seq}, limit, [], fn
      {^kind, ^id, _seq} = key ->
        [{_key, event}] = :ets.lookup(@events, key)
        event

      _other ->
        nil
    end)
  end

  @impl OpenAgentsRuntime.Convex.EventLog
  def ids(kind, after_id, limit) do
    take(@rows, {kind, after_id || ""}, limit, [], fn
      {^kind, id} -> id
      _other -> nil
    end)
  end

  defp take(_table, _key, 0, found, _fun), do: Enum.reverse(found)

  defp take(table, key, limit, found, fun) do
    with next when next != :"$end_of_table" <- :ets.next(table, key),
         value when value != nil <- fun.(next) do
      take(table, next, limit - 1, [value | found], fun)
    else
      _ -> Enum.reverse(found)
    end
  end

  # ---- the process

  @impl GenServer
  def init(dir) do
    Process.flag(:trap_exit, true)
    :ets.new(@rows, [:ordered_set, :named_table, :protected, read_concurrency: true])
    :ets.new(@events, [:ordered_set, :named_table, :protected, read_concurrency: true])

    with :ok <- File.mkdir_p(dir),
         {:ok, log} <- open(Path.join(dir, "events.log")),
         :ok <- replay(log, :start) do
      {:ok, %{log: log, waiting: [], rows: %{}}}
    else
      {:error, reason} -> {:stop, {:store, reason}}
    end
  end

  defp open(path) do
    case :disk_log.open(name: __MODULE__, file: String.to_charlist(path), repair: true) do
      {:ok, log} -> {:ok, log}
      {:repaired, log, _recovered, _lost} -> {:ok, log}
      {:error, reason} -> {:error, reason}
    end
  end

  defp replay(log, continuation) do
    case :disk_log.chunk(log, continuation) do
      :eof ->
        :ok

      {:error, reason} ->
        {:error, reason}

      read when elem(read, 0) != :error ->
        Enum.each(elem(read, 1), &apply_change/1)
        replay(log, elem(read, 0))
    end
  end

  # Changes are collected until the mailbox is empty (timeout 0), then all are written and
  # synced together.
  @impl GenServer
  def handle_call(change, from, state) do
    case change(change, state.rows) do
      {:error, reason} ->
        {:reply, {:error, reason}, state, timeout(state)}

      {logged, reply, key, row} ->
        state = %{
          state
          | waiting: [{from, reply, logged} | state.waiting],
            rows: Map.put(state.rows, key, row)
        }

        if length(state.waiting) >= @max_group, do: commit(state), else: {:noreply, state, 0}
    end
  end

  @impl GenServer
  def handle_info(:timeout, state), do: commit(state)
  def handle_info(_other, state), do: {:noreply, state, timeout(state)}

  @impl GenServer
  def terminate(_reason, state) do
    if state.waiting != [], do: commit(state)
    :disk_log.close(state.log)
  end

  defp timeout(%{waiting: []}), do: :infinity
  defp timeout(_state), do: 0

  # The terms for a change, given the rows as the waiting changes will leave them.
  defp change({:create, key, columns, at}, rows) do
    case current(key, rows) do
      {:ok, _row} ->
        {:error, :exists}

      :error ->
        row = Map.merge(%{latest_seq: 0, inserted_at: at, updated_at: at}, columns)
        {{:row, key, row}, :ok, key, row}
    end
  end

  defp change({:update, key, columns, at}, rows) do
    with {:ok, row} <- found(key, rows) do
      row = row |> Map.merge(%{updated_at: at}) |> Map.merge(columns)
      {{:row, key, row}, :ok, key, row}
    end
  end

  defp change({:append, key, event, columns}, rows) do
    with {:ok, row} <- found(key, rows) do
      seq = row.latest_seq + 1
      event = Map.put(event, :seq, seq)
      row = row |> Map.merge(%{updated_at: event.inserted_at}) |> Map.merge(columns)
      row = Map.put(row, :latest_seq, seq)
      {{:event, key, event, row}, {:ok, seq}, key, row}
    end
  end

  defp current(key, rows) do
    with :error <- Map.fetch(rows, key), do: row(elem(key, 0), elem(key, 1))
  end

  defp found(key, rows) do
    with :error <- current(key, rows), do: {:error, :not_found}
  end

  defp commit(%{log: log} = state) do
    waiting = Enum.reverse(state.waiting)

    with :ok <- :disk_log.log_terms(log, for({_from, _reply, logged} <- waiting, do: logged)),
         :ok <- :disk_log.sync(log) do
      Enum.each(waiting, fn {from, reply, logged} ->
        apply_change(logged)
        GenServer.reply(from, reply)
      end)

      {:noreply, %{state | waiting: [], rows: %{}}}
    else
      {:error, reason} ->
        Enum.each(waiting, fn {from, _reply, _logged} ->
          GenServer.reply(from, {:error, {:store, reason}})
        end)

        {:stop, {:store, reason}, %{state | waiting: [], rows: %{}}}
    end
  end

  # The event before its row, so that a reader never sees a latest_seq without its event.
  defp apply_change({:row, key, row}), do: :ets.insert(@rows, {key, row})

  defp apply_change({:event, {kind, id} = key, event, row}) do
    :ets.insert(@events, {{kind, id, event.seq}, event})
    :ets.insert(@rows, {key, row})
  end
end
