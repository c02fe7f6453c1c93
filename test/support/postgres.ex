defmodule Postgres do
  @moduledoc """
  A PostgreSQL of its own, in its own folder, as an ordinary user, on a Unix socket that nobody else
  has; it ends with this VM, however that ends. Asked through Debian's erlang-p1-pgsql, which
  speaks TCP alone: `relay/1` is a port of loopback that leads to the socket.
  """
  use GenServer
  # Debian's, found when it is wanted.
  @compile {:no_warn_undefined, :pgsql}

  @doc "Start one in `dir`, which has to be new; gives it back with what `query!/3` wants."
  def start_link(dir), do: GenServer.start_link(__MODULE__, dir)

  @doc "The function that `SqlEventLog` wants, with a connection of its own."
  def query_fun(server) do
    connection = connect(server)
    fn sql, params -> query!(connection, sql, params) end
  end

  @doc "A connection; it ends with the server."
  def connect(server) do
    port = GenServer.call(server, :port, :infinity)
    options = [host: ~c"127.0.0.1", port: port, user: ~c"test", database: ~c"postgres", as_binary: true]
    connection = connect_to(options, 200)
    :ok = GenServer.call(server, {:connected, connection})
    connection
  end

  # It listens a moment before it lets anybody in (57P03).
  defp connect_to(options, left) do
    case :pgsql.connect(options) do
      {:ok, connection} ->
        connection

      {:error, _why} when left > 0 ->
        Process.sleep(50)
        connect_to(options, left - 1)

      {:error, why} ->
        raise "no connection to PostgreSQL: #{inspect(why)}"
    end
  end

  @doc "Ask with parameters (prepared once a connection); raises what PostgreSQL says."
  def query!(connection, sql, params) do
    name = "q#{:erlang.phash2(sql, 0xFFFFFFFF)}"

    case :pgsql.execute(connection, name, params) do
      {:ok, _} = answer -> answer
      {:error, why} -> prepared!({:code, "26000"} in why, why, connection, name, sql, params)
    end
  end

  # Another process may have prepared it meanwhile (42P05).
  defp prepared!(false, why, _connection, _name, _sql, _params), do: raise(inspect(why))

  defp prepared!(true, _why, connection, name, sql, params) do
    with {:error, why} <- :pgsql.prepare(connection, name, sql),
         do: {:code, "42P05"} in why || raise(inspect(why))

    case :pgsql.execute(connection, name, params) do
      {:ok, _} = answer -> answer
      {:error, why} -> raise(inspect(why))
    end
  end

  @doc "Statements without parameters or answers, in one transaction."
  def run!(connection, sql) do
    {:ok, answers} = :pgsql.squery(connection, IO.iodata_to_binary(sql))
    for {:error, why} <- answers, do: raise(inspect(why))
    :ok
  end

  @doc "The tables of the runtime, as its migrations leave them."
  def runtime_tables do
    """
    CREATE SCHEMA runtime;
    CREATE TABLE runtime.runs (
      run_id varchar(255) PRIMARY KEY, thread_id varchar(255), status varchar(255), owner_user_id bigint,
      owner_guest_scope varchar(255), latest_seq bigint NOT NULL DEFAULT 0, last_processed_frame_id bigint,
      terminal_reason_class varchar(255), terminal_reason varchar(255), terminal_at timestamp(6),
      recovery_attempt_count integer, last_recovery_at timestamp(6), inserted_at timestamp(6), updated_at timestamp(6),
      CONSTRAINT runs_owner CHECK (owner_user_id IS NOT NULL OR owner_guest_scope IS NOT NULL));
    CREATE INDEX runs_thread_id_index ON runtime.runs (thread_id);
    CREATE INDEX runs_status_updated_at_index ON runtime.runs (status, updated_at);
    CREATE INDEX runs_status_terminal_at_index ON runtime.runs (status, terminal_at);
    CREATE TABLE runtime.run_events (
      id bigserial, run_id varchar(255) NOT NULL REFERENCES runtime.runs ON DELETE CASCADE, seq bigint NOT NULL CHECK (seq > 0),
      event_type varchar(255), payload jsonb, prev_hash varchar(255), event_hash varchar(255), inserted_at timestamp(6));
    CREATE UNIQUE INDEX run_events_run_id_seq_index ON runtime.run_events (run_id, seq);
    CREATE INDEX run_events_run_id_inserted_at_index ON runtime.run_events (run_id, inserted_at);
    CREATE TABLE runtime.codex_workers (
      worker_id varchar(255) PRIMARY KEY, owner_user_id integer, owner_guest_scope varchar(255), workspace_ref varchar(255),
      codex_home_ref varchar(255), adapter varchar(255) DEFAULT 'in_memory', status varchar(255), latest_seq bigint NOT NULL DEFAULT 0,
      metadata jsonb DEFAULT '{}', started_at timestamp(6), stopped_at timestamp(6), last_heartbeat_at timestamp(6),
      inserted_at timestamp(6), updated_at timestamp(6));
    CREATE TABLE runtime.codex_worker_events (
      worker_id varchar(255) NOT NULL REFERENCES runtime.codex_workers, seq bigint NOT NULL,
      event_type varchar(120) CHECK (length(event_type) >= 1), payload jsonb, inserted_at timestamp(6));
    CREATE UNIQUE INDEX codex_worker_events_worker_id_seq_index ON runtime.codex_worker_events (worker_id, seq);
    CREATE TABLE runtime.convex_projection_checkpoints (
      projection_name varchar(255), entity_id varchar(255), document_id varchar(255), last_runtime_seq bigint,
      projection_version varchar(255), summary_hash varchar(64), last_projected_at timestamp(6),
      inserted_at timestamp(6), updated_at timestamp(6), UNIQUE (projection_name, entity_id));
    """
  end

  # Where Debian has it, whatever OTP this is.
  defp load_driver do
    for path <- Path.wildcard("/usr/lib/erlang/lib/p1_pgsql-*/ebin"), do: Code.append_path(path)
    Code.ensure_loaded?(:pgsql) || raise "no erlang-p1-pgsql: make setup"
    bin("initdb") || raise "no postgresql: make setup"
  end

  # ---- the server

  @impl true
  def init(dir) do
    # Nothing of ours ends with a connection.
    Process.flag(:trap_exit, true)
    load_driver()
    File.mkdir_p!(dir)
    File.chmod!(dir, 0o700)
    user = as_user(dir)
    data = Path.join(dir, "data")
    initdb = [bin("initdb"), "-D", data, "-U", "test", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync"]
    {_, 0} = run(user ++ initdb, dir)

    # The server ends when its standard input does, so with this VM.
    script = ~S("$@" >>"$0/log" 2>&1 & pid=$!; cat >/dev/null; kill -INT $pid; wait $pid)

    server =
      [bin("postgres"), "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "fsync=off"] ++
        ["-c", "timezone=Asia/Kolkata", "-c", "datestyle=German", "-c", "max_connections=200"]

    args = ["-c", script, dir] ++ user ++ server
    port = Port.open({:spawn_executable, "/bin/sh"}, [:binary, args: args, cd: dir])
    socket = Path.join(dir, ".s.PGSQL.5432")
    :ok = await(socket, dir, 200)
    {:ok, listener} = :gen_tcp.listen(0, [:binary, active: false, ip: {127, 0, 0, 1}, reuseaddr: true])
    {:ok, tcp_port} = :inet.port(listener)
    spawn_link(fn -> accept(listener, socket) end)
    {:ok, %{server: port, listener: listener, port: tcp_port, pid_file: Path.join(data, "postmaster.pid"), connections: []}}
  end

  @impl true
  def handle_call(:port, _from, state), do: {:reply, state.port, state}

  def handle_call({:connected, connection}, _from, state),
    do: {:reply, :ok, %{state | connections: [connection | state.connections]}}

  @impl true
  def handle_info(_message, state), do: {:noreply, state}

  @impl true
  def terminate(_reason, state) do
    for c <- state.connections, Process.alive?(c), do: :pgsql.terminate(c)
    Port.close(state.server)
    await_end(state.pid_file, 80)
  end

  # Whoever removes its folder must not race with it.
  defp await_end(pid_file, left) do
    if left > 0 and File.exists?(pid_file), do: Process.sleep(50) && await_end(pid_file, left - 1)
  end

  # It is root that PostgreSQL will not run as.
  defp as_user(dir) do
    case System.cmd("id", ["-u"]) do
      {"0\n", 0} ->
        {_, 0} = System.cmd("chown", ["nobody", dir])
        [System.find_executable("setpriv"), "--reuid=nobody", "--regid=nogroup", "--clear-groups"]

      _ ->
        []
    end
  end

  defp bin(name) do
    case Path.wildcard("/usr/lib/postgresql/*/bin/#{name}") do
      [] -> System.find_executable(name)
      found -> Enum.max_by(found, &String.to_integer(&1 |> Path.split() |> Enum.at(4)))
    end
  end

  defp run([program | args], dir), do: System.cmd(program, args, cd: dir, stderr_to_stdout: true)

  defp await(socket, dir, left) do
    case :gen_tcp.connect({:local, socket}, 0, []) do
      {:ok, connection} ->
        :gen_tcp.close(connection)

      {:error, _why} when left > 0 ->
        Process.sleep(50)
        await(socket, dir, left - 1)

      {:error, why} ->
        raise "no PostgreSQL: #{inspect(why)}; #{File.read!(Path.join(dir, "log"))}"
    end
  end

  # ---- the relay

  defp accept(listener, socket) do
    case :gen_tcp.accept(listener) do
      {:ok, client} -> accepted(client, listener, socket)
      {:error, :closed} -> :ok
    end
  end

  defp accepted(client, listener, socket) do
    relay =
      spawn(fn ->
        receive do: (:go -> :ok)
        {:ok, server} = :gen_tcp.connect({:local, socket}, 0, [:binary, active: true])
        :ok = :inet.setopts(client, active: true)
        relay(client, server)
      end)

    :ok = :gen_tcp.controlling_process(client, relay)
    send(relay, :go)
    accept(listener, socket)
  end

  defp relay(client, server) do
    receive do
      {:tcp, ^client, data} -> :gen_tcp.send(server, data) && relay(client, server)
      {:tcp, ^server, data} -> :gen_tcp.send(client, data) && relay(client, server)
      {:tcp_closed, _either} -> :ok
    end
  end
end
