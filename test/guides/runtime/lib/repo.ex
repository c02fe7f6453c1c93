defmodule OpenAgentsRuntime.Repo do
  @moduledoc """
  What the runtime has of Ecto, over Debian's erlang-p1-pgsql: a pool; a transaction belongs to the process that
  began it, a transaction in it joins, whoever dies in it takes it along.
  """
  use GenServer

  @size 16
  @timeout_ms 60_000

  def start_link(opts), do: GenServer.start_link(__MODULE__, opts, name: __MODULE__)

  @doc "Every parameter goes as text, and so does every answer: rows of texts and nils."
  def query!(sql, params \\ []) do
    case Process.get(__MODULE__) do
      nil -> with_connection(&ask(&1, sql, params))
      connection -> ask(connection, sql, params)
    end
  end

  def in_transaction?, do: Process.get(__MODULE__) != nil

  @doc "`{:ok, value of fun}`, or `{:error, why}` after `rollback(why)`."
  def transaction(fun), do: if(in_transaction?(), do: {:ok, fun.()}, else: with_connection(&transaction(&1, fun)))

  def rollback(why), do: throw({__MODULE__, why})

  defp transaction(connection, fun) do
    ask(connection, "BEGIN", [])
    Process.put(__MODULE__, connection)
    value = fun.()
    ask(connection, "COMMIT", [])
    {:ok, value}
  catch
    :throw, {__MODULE__, why} ->
      ask(connection, "ROLLBACK", [])
      {:error, why}

    kind, why ->
      ask(connection, "ROLLBACK", [])
      :erlang.raise(kind, why, __STACKTRACE__)
  after
    Process.delete(__MODULE__)
  end

  # Prepared once a connection; its execute/3 waits 5 s, too few on a machine that is busy.
  defp ask(connection, sql, params) do
    name = "q#{:erlang.phash2(sql, 0xFFFFFFFF)}"
    params = Enum.map(params, &if(&1 == nil, do: :null, else: to_string(&1)))

    if :ets.insert_new(__MODULE__, {{connection, name}}) do
      with {:error, why} <- :gen_server.call(connection, {:prepare, {name, sql}}, @timeout_ms), do: raise("#{sql}: #{inspect(why)}")
    end

    case :gen_server.call(connection, {:execute, {name, params}}, @timeout_ms) do
      {:ok, {command, rows}} when is_binary(command) -> for row <- rows, do: for({_type, value} <- row, do: if(value != :null, do: value))
      {:ok, {_command, _count}} -> []
      {:error, why} -> raise "#{sql}: #{inspect(why)}"
    end
  end

  # ---- the pool

  defp with_connection(fun) do
    connection = GenServer.call(__MODULE__, :out, @timeout_ms)

    try do
      fun.(connection)
    after
      GenServer.cast(__MODULE__, {:in, connection})
    end
  end

  @impl true
  def init(opts) do
    Process.flag(:trap_exit, true)
    :ets.new(__MODULE__, [:named_table, :public])
    for path <- Path.wildcard(opts[:driver]), do: :code.add_pathz(to_charlist(path))
    options = [host: ~c"127.0.0.1", port: opts[:port], user: ~c"test", database: ~c"postgres", as_binary: true]
    {:ok, %{options: options, idle: for(_ <- 1..@size, do: connect(options)), waiting: :queue.new(), out: %{}}}
  end

  defp connect(options) do
    {:ok, connection} = :pgsql.connect(options)
    connection
  end

  @impl true
  def handle_call(:out, from, state), do: {:noreply, give(%{state | waiting: :queue.in(from, state.waiting)})}

  @impl true
  def handle_cast({:in, connection}, state) do
    {monitor, out} = Map.pop(state.out, connection)
    Process.demonitor(monitor, [:flush])
    {:noreply, give(%{state | out: out, idle: [connection | state.idle]})}
  end

  # Its transaction ends with its connection.
  @impl true
  def handle_info({:DOWN, monitor, :process, _pid, _why}, state) do
    case Enum.find(state.out, &(elem(&1, 1) == monitor)) do
      {connection, _} ->
        :pgsql.terminate(connection)
        {:noreply, give(%{state | out: Map.delete(state.out, connection), idle: [connect(state.options) | state.idle]})}

      nil ->
        {:noreply, state}
    end
  end

  def handle_info({:EXIT, _pid, :normal}, state), do: {:noreply, state}
  def handle_info({:EXIT, _pid, why}, state), do: {:stop, why, state}
  def handle_info(_message, state), do: {:noreply, state}

  defp give(%{idle: [connection | idle], waiting: waiting} = state) do
    case :queue.out(waiting) do
      {{:value, {pid, _} = from}, waiting} ->
        GenServer.reply(from, connection)
        give(%{state | idle: idle, waiting: waiting, out: Map.put(state.out, connection, Process.monitor(pid))})

      {:empty, _} ->
        state
    end
  end

  defp give(state), do: state
end
