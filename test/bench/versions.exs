defmodule Bench.Versions do
  @moduledoc """
  This version and the one before it (0.1.1, built in build/0.1.1), each with its own VM code in a VM of
  its own, measured in turns in one run: random ids beside rising ones, first and further versions, a store
  that holds 100,000 checkpoints already.

  What is measured runs inside those VMs (`serve/0`), with nothing but what both versions have.
  """
  import Bench.Kit
  alias Bench.Source

  @kind :run_summary
  @stored 100_000
  @documents 10_240
  @further 3
  @batch 64
  @callers 16

  # ---- the VMs

  @doc "A VM with the code in `ebin`; its sidecar keeps for `stub`, and 100,000 documents are confirmed."
  def start(name, ebin, stub) do
    paths = for app <- [:elixir, :logger], do: :code.lib_dir(app, :ebin)
    args = [~c"-start_epmd", ~c"false", ~c"-connect_all", ~c"false", ~c"+sbwt", ~c"none", ~c"+sbwtdcpu", ~c"none", ~c"+sbwtdio", ~c"none"]
    args = args ++ [~c"-setcookie", Atom.to_charlist(Node.get_cookie()), ~c"-pa", String.to_charlist(ebin) | paths]
    {:ok, peer, node} = :peer.start_link(%{name: :"#{name}_#{System.pid()}", host: ~c"127.0.0.1", longnames: true, args: args})
    {:ok, _} = :erpc.call(node, :application, :ensure_all_started, [:logger])
    :ok = :erpc.call(node, :logger, :set_primary_config, [:level, :error])
    for file <- ~w(kit.exs versions.exs), do: :erpc.call(node, Code, :require_file, [file, __DIR__])
    version = %{peer: peer, server: Node.spawn(node, __MODULE__, :serve, []), name: name}
    version = Map.put(version, :sidecar, ask(version, :open, [stub]))
    version
  end

  def stop(version) do
    ask(version, :close, [version.sidecar])
    :peer.stop(version.peer)
  end

  @doc "Inside `version`'s VM."
  def ask(version, fun, args) do
    ref = make_ref()
    send(version.server, {self(), ref, fun, args})

    receive do
      {^ref, {:ok, answer}} -> answer
      {^ref, {:error, why}} -> raise "#{version.name}: #{fun}: #{why}"
    after
      300_000 -> raise "#{version.name}: #{fun} takes too long"
    end
  end

  def serve do
    receive do
      {from, ref, fun, args} -> send(from, {ref, answer(fun, args)})
    end

    serve()
  end

  defp answer(fun, args) do
    {:ok, apply(__MODULE__, fun, args)}
  catch
    class, why -> {:error, Exception.format(class, why, __STACKTRACE__)}
  end

  # ---- inside: open and close

  def open(stub) do
    {:ok, _} = Application.ensure_all_started(:convex_sidecar)
    s = start_sidecar(stub)
    keep(s, Enum.map(1..@stored, fn _ -> uuid() end), 1)
    flush(s)
    s
  end

  def close(s), do: stop_sidecar(s)

  @doc "Milliseconds from the call to ready, over the store that `s` has; `s` as it is now."
  def restart(s, stub) do
    flush(s)
    stop_sidecar(s, true)
    t0 = now_us()
    again = start_sidecar(stub, dir: s.dir)
    {(now_us() - t0) / 1000, again}
  end

  # ---- inside: batches

  @doc """
  Batches of 64 from 16 callers, kept and confirmed: the first versions of new documents, then further ones
  of the same, in another order. Each as `%{rate, cpu_us, store_us, bytes}` a version.
  """
  def batches(s, ids) do
    new = ids(ids, @documents)
    first = measured(s, @documents, fn -> keep(s, new, 1) end)
    again = if ids == :random, do: Enum.shuffle(new), else: new
    further = measured(s, @further * @documents, fn -> for(seq <- 2..(@further + 1), do: keep(s, again, seq) && flush(s)) end)
    %{first: first, further: further}
  end

  # As runs have them; or each higher than all before.
  defp ids(:random, n), do: for(_ <- 1..n, do: uuid())

  defp ids(:rising, n) do
    from = System.os_time(:microsecond)
    for i <- 1..n, do: "run_#{String.pad_leading(Integer.to_string(from + i), 20, "0")}"
  end

  defp keep(s, ids, seq) do
    chunks = ids |> Enum.chunk_every(@batch) |> List.to_tuple()

    parallel(min(@callers, tuple_size(chunks)), tuple_size(chunks), fn k ->
      requests = for id <- elem(chunks, k - 1), do: request(id, seq)
      {:ok, replies} = :convex_sidecar.batch(s.name, requests, 60_000)
      true = Enum.all?(replies, &match?({:ok, %{write: "queued"}}, &1))
    end)
  end

  defp request(id, seq), do: {:project, @kind, id, %{Source.row(id) | latest_seq: seq}, [Source.event(seq)], %{}}
  defp flush(s), do: {:ok, %{pending: 0}} = :convex_sidecar.flush(s.name, 120_000)

  defp measured(s, n, fun) do
    {cpu, store, bytes, t0} = {cpu_ns(s.pid), thread_ns(s.pid, "store"), written(s.pid), now_us()}
    fun.()
    flush(s)
    took = now_us() - t0

    %{
      rate: n / took * 1.0e6,
      cpu_us: (cpu_ns(s.pid) - cpu) / n / 1000,
      store_us: (thread_ns(s.pid, "store") - store) / n / 1000,
      bytes: (written(s.pid) - bytes) / n
    }
  end

  # ---- inside: one caller, one call

  @doc "p50 and p99 of `kept`, us: one caller, random ids, new documents."
  def kept(s, n) do
    times =
      for _ <- 1..n do
        id = uuid()
        t0 = now_ns()
        {:ok, _} = :convex_sidecar.project(s.name, @kind, id, Source.row(id), Source.events(), %{timeout: 60_000})
        (now_ns() - t0) / 1000
      end

    flush(s)
    %{p50: percentile(times, 0.5), p99: percentile(times, 0.99)}
  end

  # ---- inside: append to the stub

  defmodule Stamped do
    @moduledoc "Rows that carry the time of the append, for the stub to look at."
    @behaviour :convex_sidecar_source
    @impl true
    def row(_kind, id, table), do: {:ok, %{Source.row(id) | owner_guest_scope: "lat:#{:ets.lookup_element(table, id, 2)}"}}
    @impl true
    def events_after(_kind, _id, from, limit, _table), do: Enum.map((from + 1)..min(1, from + limit)//1, &Source.event/1)
    @impl true
    def ids(_kind, _after, _limit, _table), do: []
  end

  @doc "`n` appends of the asynchronous form, `rate` a second, new runs with random ids."
  def appends(s, n, rate) do
    table = :ets.new(:stamps, [:public])
    start = now_us()

    for i <- 1..n do
      left = div(start + div(i * 1_000_000, rate) - now_us() + 999, 1000)
      if left > 0, do: Process.sleep(left)
      id = uuid()
      :ets.insert(table, {id, System.os_time(:microsecond)})
      :ok = :convex_sidecar.project_async(s.name, @kind, id, {Stamped, table})
    end

    # The table stays: what was appended is looked at again.
    :ok = :convex_sidecar.settle(s.name, 60_000)
    flush(s)
  end

  # ---- inside: doing nothing

  @doc "Processor time a second of this VM and of the sidecar, us, and the sidecar's own memory, MB."
  def idle(s, ms) do
    flush(s)
    # What was appended last is looked at again after 2 s.
    Process.sleep(3000)
    {vm, sidecar} = {vm_cpu_ns(), cpu_ns(s.pid)}
    Process.sleep(ms)
    {vm, sidecar} = {(vm_cpu_ns() - vm) / ms, (cpu_ns(s.pid) - sidecar) / ms}
    {anon, _} = rss_mb(s.pid)
    %{vm_us: vm, sidecar_us: sidecar, anon_mb: anon}
  end

  @doc "Of `n` appends with nothing else: us an append costs the process that makes it, p50 and p99."
  def append_us(s, n) do
    times =
      for _ <- 1..n do
        id = uuid()
        t0 = now_ns()
        :ok = :convex_sidecar.project_async(s.name, @kind, id, {Source, :one})
        (now_ns() - t0) / 1000
      end

    :ok = :convex_sidecar.settle(s.name, 60_000)
    %{p50: percentile(times, 0.5), p99: percentile(times, 0.99)}
  end

  # ---- of a process

  defp thread_ns(pid, name) do
    for dir <- Path.wildcard("/proc/#{pid}/task/*"), File.read!(Path.join(dir, "comm")) == name <> "\n", reduce: 0 do
      sum -> sum + (Path.join(dir, "schedstat") |> File.read!() |> String.split() |> hd() |> String.to_integer())
    end
  end

  # What it has written to files: LMDB's pages. (write_bytes counts whole folios, of which a page is a part.)
  defp written(pid) do
    [_, bytes] = Regex.run(~r/^wchar: (\d+)$/m, File.read!("/proc/#{pid}/io"))
    String.to_integer(bytes)
  end
end
