defmodule Bench.Source do
  @moduledoc "An event log that costs nothing: the row and the one event of any id, made up."
  @behaviour :convex_sidecar_source
  @t ~U[2026-02-19 20:00:00.123456Z]

  @doc "A run whose document is about 700 bytes of JSON."
  def row(id) do
    %{
      thread_id: "thread_" <> id,
      status: "running",
      owner_user_id: 42,
      owner_guest_scope: nil,
      terminal_reason_class: nil,
      terminal_reason: nil,
      terminal_at: nil,
      updated_at: @t,
      latest_seq: 1
    }
  end

  def event(seq), do: %{seq: seq, event_type: "run.delta", inserted_at: @t}
  def events, do: [event(1)]
  def request(id), do: {:project, :run_summary, id, row(id), events(), %{}}

  @impl true
  def row(_kind, id, _arg), do: {:ok, row(id)}
  # Arg `%{last: n}`: every run has n events; `%{counters: table}`: as many as the table says.
  @impl true
  def events_after(_kind, id, from, limit, arg) do
    Enum.map((from + 1)..min(last(id, arg), from + limit)//1, &event/1)
  end

  defp last(_id, %{last: last}), do: last
  defp last(id, %{counters: table}), do: :ets.lookup_element(table, id, 2)
  defp last(_id, _arg), do: 1

  @impl true
  def ids(_kind, _after, _limit, _arg), do: []
end

defmodule Bench.Kit do
  @moduledoc "Programs, processor time, and numbers."

  @root Path.expand("../..", __DIR__)
  def root, do: @root
  def tool(name), do: Path.join([@root, System.get_env("BUILD", "build"), "bench", name])

  # ---- programs that say "ready key=value ..." and end with their standard input

  def start_tool(name, args \\ []) do
    port = Port.open({:spawn_executable, tool(name)}, [:binary, :exit_status, line: 10_000, args: args])
    {port, ready(port)}
  end

  defp ready(port) do
    receive do
      {^port, {:data, {:eol, "ready " <> words}}} -> words(words)
      {^port, {:exit_status, status}} -> raise "a bench program ended with #{status}"
    after
      10_000 -> raise "a bench program is not ready"
    end
  end

  def words(text) do
    for word <- String.split(text), [k, v] = String.split(word, "=", parts: 2), into: %{}, do: {String.to_atom(k), number(v)}
  end

  defp number(text) do
    case Float.parse(text) do
      {n, ""} -> n
      _ -> text
    end
  end

  def stop_tool({port, _}) do
    Port.close(port)
  end

  def run_tool(name, args) do
    {out, 0} = System.cmd(tool(name), Enum.map(args, &to_string/1))
    words(out)
  end

  # ---- the stub

  def start_stub do
    {port, %{port: tcp, pid: pid}} = start_tool("stub")
    tcp = trunc(tcp)
    {:ok, socket} = :gen_tcp.connect({127, 0, 0, 1}, tcp, [:binary, active: false, nodelay: true])
    %{port: port, tcp: tcp, pid: trunc(pid), socket: socket, url: "http://127.0.0.1:#{tcp}"}
  end

  def stop_stub(stub) do
    :gen_tcp.close(stub.socket)
    Port.close(stub.port)
  end

  @doc "`/stats`, `/await/N` or `/latency/US`: the stub's counters."
  def stub(stub, path, timeout \\ 120_000) do
    :ok = :gen_tcp.send(stub.socket, "GET #{path} HTTP/1.1\r\n\r\n")

    for [_, k, v] <- Regex.scan(~r/"(\w+)":(\d+)/, answer(stub.socket, "", timeout)),
        into: %{},
        do: {String.to_atom(k), String.to_integer(v)}
  end

  defp answer(socket, got, timeout) do
    if String.ends_with?(got, "}\n") do
      got
    else
      case :gen_tcp.recv(socket, 0, timeout) do
        {:ok, more} -> answer(socket, got <> more, timeout)
        {:error, why} -> raise "the stub does not answer: #{inspect(why)}"
      end
    end
  end

  # ---- the sidecar, as in production: the defaults, and where Convex is

  def start_sidecar(stub, options \\ []) do
    name = :"bench_#{System.pid()}_#{System.unique_integer([:positive])}"
    dir = Keyword.get_lazy(options, :dir, &tmp_dir/0)
    sink = [type: "http", base_url: stub.url] ++ Keyword.get(options, :sink, [])

    config = [sink: sink, delivery: Keyword.get(options, :delivery, []), log: [level: "error"]] ++ Keyword.get(options, :config, [])
    instance = Keyword.get(options, :instance, [])
    Process.flag(:trap_exit, true)

    {:ok, _} =
      :convex_sidecar.start_link([name: name, node: :"#{name}@127.0.0.1", store_dir: dir, config: config, start_ms: 60_000] ++ instance)

    :ok = :convex_sidecar.await(name, 60_000)
    {:ok, %{pid: pid}} = :convex_sidecar.status(name)
    %{name: name, dir: dir, pid: pid, server: {:convex_sidecar, :"#{name}@127.0.0.1"}}
  end

  def stop_sidecar(s, keep \\ false) do
    :convex_sidecar.stop(s.name)
    :convex_sidecar_instance.close(s.name)
    unless keep, do: File.rm_rf!(s.dir)
    :ok
  end

  def tmp_dir do
    dir = Path.join(System.get_env("BENCH_DIR") || System.tmp_dir!(), "store_#{System.pid()}_#{System.unique_integer([:positive])}")
    File.mkdir_p!(dir)
    File.chmod!(dir, 0o700)
    dir
  end

  # ---- processor time

  @doc "Nanoseconds that the threads of a process have run."
  def cpu_ns(pid) do
    for path <- Path.wildcard("/proc/#{pid}/task/*/schedstat"), {:ok, text} = File.read(path), reduce: 0 do
      sum -> sum + (text |> String.split() |> hd() |> String.to_integer())
    end
  end

  @doc "The same of this VM."
  def vm_cpu_ns, do: cpu_ns(System.pid())

  def rss_mb(pid) do
    # RssFile is the mapped store: it is the page cache's.
    text = File.read!("/proc/#{pid}/status")
    [_, anon] = Regex.run(~r/RssAnon:\s+(\d+) kB/, text)
    [_, file] = Regex.run(~r/RssFile:\s+(\d+) kB/, text)
    {String.to_integer(anon) / 1024, String.to_integer(file) / 1024}
  end

  def reductions, do: elem(:erlang.statistics(:exact_reductions), 0)
  def now_us, do: System.monotonic_time(:microsecond)
  def now_ns, do: System.monotonic_time(:nanosecond)

  # ---- numbers

  @doc "An id as runs have them: a random UUID."
  def uuid do
    <<a::32, b::16, _::4, c::12, _::2, d::14, e::48>> = :crypto.strong_rand_bytes(16)
    hex = <<a::32, b::16, 4::4, c::12, 2::2, d::14, e::48>> |> Base.encode16(case: :lower)
    <<a::binary-8, b::binary-4, c::binary-4, d::binary-4, e::binary-12>> = hex
    "#{a}-#{b}-#{c}-#{d}-#{e}"
  end

  def median(list), do: list |> Enum.sort() |> Enum.at(div(length(list), 2))

  def percentile(list, p) do
    sorted = Enum.sort(list)
    Enum.at(sorted, min(length(sorted) - 1, trunc(length(sorted) * p)))
  end

  @doc "One warm-up, then `n` repeats of a fun that gives a map of numbers; a map of lists."
  def repeat(n \\ 5, warm \\ true, fun) do
    if warm, do: fun.()

    for _ <- 1..n, {k, v} <- fun.(), reduce: %{} do
      acc -> Map.update(acc, k, [v], &[v | &1])
    end
  end

  @doc "`callers` processes call `fun` with the numbers from 1 to `n`, each its share."
  def parallel(callers, n, fun) do
    per = div(n, callers)

    1..callers
    |> Enum.map(fn c -> Task.async(fn -> loop((c - 1) * per + 1, c * per, fun) end) end)
    |> Task.await_many(300_000)

    per * callers
  end

  defp loop(i, last, _fun) when i > last, do: :ok

  defp loop(i, last, fun) do
    fun.(i)
    loop(i + 1, last, fun)
  end

  # ---- a row of the table; value, against: lists of repeats, or single numbers

  def row(name, value, against_name, against, direction, target, note \\ "") do
    ratio = if against, do: median(list(value)) / median(list(against)), else: median(list(value))
    met = if direction == :least, do: ratio >= target, else: ratio <= target

    %{
      row: name,
      value: list(value),
      against_name: against_name,
      against: against && list(against),
      ratio: ratio,
      direction: direction,
      target: target,
      met: met,
      note: note
    }
  end

  defp list(x) when is_list(x), do: x
  defp list(x), do: [x]
end
